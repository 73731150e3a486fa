//! Hides the length of messages: 256 B, 1, 4, 16 or 64 KiB, then multiples of 64 KiB. The plaintext is followed by 0x80
//! and zeros (ISO/IEC 7816-4), so that padding is recognised without a length field. Four sizes for nearly all texts cost
//! about three times the bytes of an unpadded text; multiples of 128 would cost less and tell 26 sizes apart.

const BUCKETS: [usize; 5] = [256, 1 << 10, 4 << 10, 16 << 10, 64 << 10];
const LARGEST: usize = 64 << 10;

/// Bytes that end in no padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaddingError {
    /// The length is no bucket.
    #[error("{0} bytes are no padded length")]
    Length(usize),
    /// No 0x80 followed by zeros at the end.
    #[error("padding has no beginning")]
    NoMarker,
}

/// Pads to the next bucket; always adds at least one byte.
pub fn pad(plaintext: &[u8]) -> Vec<u8> {
    let mut padded = Vec::new();
    pad_into(plaintext, &mut padded);
    padded
}

/// [`pad`] into an empty buffer.
pub(crate) fn pad_into(plaintext: &[u8], padded: &mut Vec<u8>) {
    let size = bucket(plaintext.len() + 1);
    padded.reserve_exact(size);
    padded.extend_from_slice(plaintext);
    padded.push(0x80);
    padded.resize(size, 0);
}

/// Whether something padded can have this length.
pub(crate) fn is_padded(len: usize) -> bool {
    len > 0 && bucket(len) == len
}

/// The plaintext within what [`pad`] made. Authenticate first: this checks form, not origin.
pub fn unpad(padded: &[u8]) -> Result<&[u8], PaddingError> {
    if !is_padded(padded.len()) {
        return Err(PaddingError::Length(padded.len()));
    }
    let marker = padded.iter().rposition(|byte| *byte != 0).ok_or(PaddingError::NoMarker)?;
    if padded[marker] != 0x80 {
        return Err(PaddingError::NoMarker);
    }
    Ok(&padded[..marker])
}

fn bucket(len: usize) -> usize {
    BUCKETS.into_iter().find(|size| len <= *size).unwrap_or_else(|| len.next_multiple_of(LARGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_fall_into_buckets() {
        for (len, padded) in [
            (0, 256),
            (255, 256),
            (256, 1024),
            (1023, 1024),
            (4095, 4096),
            (4096, 16384),
            (65535, 65536),
            (65536, 131072),
            (200_000, 262_144),
        ] {
            let plaintext = vec![0x80; len];
            assert_eq!(pad(&plaintext).len(), padded, "{len}");
            assert_eq!(unpad(&pad(&plaintext)).unwrap(), plaintext);
        }
        assert_eq!(unpad(&pad(&[1, 0, 0])).unwrap(), [1, 0, 0]);
    }

    #[test]
    fn bad_padding_is_told_apart() {
        assert_eq!(unpad(&[]), Err(PaddingError::Length(0)));
        assert_eq!(unpad(&[0x80; 255]), Err(PaddingError::Length(255)));
        assert_eq!(unpad(&[0; 256]), Err(PaddingError::NoMarker));
        assert_eq!(unpad(&[1; 256]), Err(PaddingError::NoMarker));
    }
}
