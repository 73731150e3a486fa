//! The body of a call that streams: what follows its frame on the stream. `len: u32` and so many bytes, again and again; a
//! length of 0 ends it, so that a body that was cut is told from a whole one.

use bytes::{Buf as _, Bytes};

use crate::limits::MAX_FRAME_PAYLOAD;

/// Bytes of a length.
pub const PIECE_HEADER: usize = 4;
/// What ends a body.
pub const END: [u8; PIECE_HEADER] = [0; PIECE_HEADER];

/// Bytes that are no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PieceError {
    /// A piece is too long.
    #[error("a piece of {0} bytes is over the limit of {MAX_FRAME_PAYLOAD}")]
    Oversized(u32),
    /// Something follows the end.
    #[error("bytes after the end of a body")]
    Trailing,
}

/// What goes before a piece of 1 to [`MAX_FRAME_PAYLOAD`] bytes.
pub fn header(len: usize) -> [u8; PIECE_HEADER] {
    debug_assert!((1..=MAX_FRAME_PAYLOAD).contains(&len));
    (len as u32).to_be_bytes()
}

/// Takes a body apart as it arrives, without copying and without memory of its own.
#[derive(Debug, Default)]
pub struct Pieces {
    header: [u8; PIECE_HEADER],
    filled: usize,
    /// Bytes of the current piece that are still to come.
    left: usize,
    ended: bool,
}

impl Pieces {
    /// Before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes content from the front of `input`; `None` when nothing is left of it.
    pub fn take(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, PieceError> {
        while !input.is_empty() {
            if self.left > 0 {
                let content = input.split_to(input.len().min(self.left));
                self.left -= content.len();
                return Ok(Some(content));
            }
            if self.ended {
                return Err(PieceError::Trailing);
            }
            self.header[self.filled] = input.get_u8();
            self.filled += 1;
            if self.filled == PIECE_HEADER {
                self.filled = 0;
                let len = u32::from_be_bytes(self.header);
                if len as usize > MAX_FRAME_PAYLOAD {
                    return Err(PieceError::Oversized(len));
                }
                self.left = len as usize;
                self.ended = len == 0;
            }
        }
        Ok(None)
    }

    /// Whether the body has ended.
    pub fn ended(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(pieces: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            out.extend_from_slice(&header(piece.len()));
            out.extend_from_slice(piece);
        }
        out.extend_from_slice(&END);
        out
    }

    /// Feeds `bytes` cut into chunks of these sizes.
    fn read(bytes: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, bool), PieceError> {
        let (mut pieces, mut content, mut rest, mut turn) = (Pieces::new(), Vec::new(), bytes, 0);
        while !rest.is_empty() {
            let len = cuts[turn % cuts.len()].clamp(1, rest.len());
            let (chunk, after) = rest.split_at(len);
            let mut chunk = Bytes::copy_from_slice(chunk);
            while let Some(part) = pieces.take(&mut chunk)? {
                content.extend_from_slice(&part);
            }
            (rest, turn) = (after, turn + 1);
        }
        Ok((content, pieces.ended()))
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_content_is_the_same(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
            cuts in prop::collection::vec(1usize..64, 1..8),
            missing in 1usize..4,
        ) {
            let whole = body(&pieces);
            prop_assert_eq!(read(&whole, &cuts), Ok((pieces.concat(), true)));
            let cut = &whole[..whole.len() - missing];
            prop_assert_eq!(read(cut, &cuts), Ok((pieces.concat(), false)), "a cut body has no end");
            let more = [whole.as_slice(), &[7]].concat();
            prop_assert_eq!(read(&more, &cuts), Err(PieceError::Trailing));
        }

        #[test]
        fn whatever_comes_is_taken_in_peace(
            bytes in prop::collection::vec(any::<u8>(), 0..300), cuts in prop::collection::vec(1usize..64, 1..4),
        ) {
            let _ = read(&bytes, &cuts);
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_by_itself() {
        let over = (MAX_FRAME_PAYLOAD as u32 + 1).to_be_bytes();
        assert_eq!(read(&over, &[1]), Err(PieceError::Oversized(MAX_FRAME_PAYLOAD as u32 + 1)));
        assert_eq!(read(&(MAX_FRAME_PAYLOAD as u32).to_be_bytes(), &[4]), Ok((Vec::new(), false)));
    }
}
