//! Base64 in its form for addresses, with padding: how Tryton takes JSON in queries and headers.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Writes bytes.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let letter = |six_bits: u8| char::from(LETTERS[usize::from(six_bits & 63)]);
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |place: usize| chunk.get(place).copied().unwrap_or(0);
        let (a, b, c) = (at(0), at(1), at(2));
        text.push(letter(a >> 2));
        text.push(letter(a << 4 | b >> 4));
        text.push(if chunk.len() > 1 { letter(b << 2 | c >> 6) } else { '=' });
        text.push(if chunk.len() > 2 { letter(c) } else { '=' });
    }
    text
}

/// Reads bytes; `None` for any other letter.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut held: u32 = 0;
    let mut bits = 0;
    for letter in text.trim_end_matches('=').bytes() {
        let place = LETTERS.iter().position(|known| *known == letter)?;
        held = (held << 6 | u32::try_from(place).ok()?) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn writes_the_vectors_of_rfc_4648_and_reads_them_back() {
        let vectors = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (length, text) in vectors.into_iter().enumerate() {
            let bytes = &b"foobar"[..length];
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).as_deref(), Some(bytes));
        }
        assert_eq!(encode(&[0xfb, 0xff]), "-_8=");
        assert_eq!(decode("a+b"), None);
    }
}
