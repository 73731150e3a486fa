//! Codes that people read and type: Crockford's base 32, in which no two characters look alike. Five bytes are eight
//! characters, without a rest.

/// The digits.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// `bytes`, whose number is a multiple of five, in groups of `group` characters with hyphens between them.
pub fn encode(bytes: &[u8], group: usize) -> String {
    let characters = bytes.chunks(5).flat_map(|five| {
        let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        (0..8).rev().map(move |place| char::from(ALPHABET[(bits >> (5 * place) & 31) as usize]))
    });
    let mut out = String::new();
    for (place, character) in characters.enumerate() {
        if place > 0 && place % group == 0 {
            out.push('-');
        }
        out.push(character);
    }
    out
}

/// The `N` bytes, a multiple of five, of a code as a person types it: case, hyphens and blanks do not matter, and what is
/// easily taken for something else is taken for that.
pub fn decode<const N: usize>(code: &str) -> Option<[u8; N]> {
    let digits = code.chars().filter(|character| !matches!(character, '-' | ' ')).map(|character| {
        let character = match character.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        ALPHABET.iter().position(|known| char::from(*known) == character).map(|digit| digit as u64)
    });
    let digits: Vec<u64> = digits.collect::<Option<_>>()?;
    if digits.len() != N * 8 / 5 {
        return None;
    }
    let mut bytes = Vec::with_capacity(N);
    for eight in digits.chunks(8) {
        let bits = eight.iter().fold(0_u64, |bits, digit| bits << 5 | digit);
        bytes.extend_from_slice(&bits.to_be_bytes()[3..]);
    }
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_being_read_aloud() {
        let bytes = [0xff, 0, 1, 2, 3, 4, 5, 6, 7, 0x5a];
        let code = encode(&bytes, 4);
        assert_eq!(code, "ZW00-20G3-0G2G-C1TT");
        assert_eq!(decode(&code), Some(bytes));
        let sloppy = code.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        assert_eq!(decode(&sloppy), Some(bytes));
        for bad in ["", &code[1..], &format!("{code}0"), &code.replacen('Z', "U", 1)] {
            assert_eq!(decode::<10>(bad), None, "{bad}");
        }
    }
}
