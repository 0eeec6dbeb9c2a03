//! What is kept of a receiver's answer: its beginning, without what looks like a secret or an address of a person.

/// The most that is kept, in bytes.
const MOST: usize = 1_024;
/// What is looked at for that.
const READ: usize = 4 * MOST;
/// From this length on, a word of letters and digits may be a key.
const KEY_LENGTH: usize = 20;
const LEFT_OUT: &str = "[redacted]";

/// The beginning of a body as it is kept; `None` of an empty one.
pub(super) fn excerpt(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&body[..body.len().min(READ)]).replace('\0', "\u{fffd}");
    let whole = body.len() <= READ;
    let mut kept = String::new();
    let mut parts = text.split_inclusive(is_border).peekable();
    while let Some(part) = parts.next() {
        // A word that was cut off may be the beginning of anything.
        if !whole && parts.peek().is_none() {
            break;
        }
        let word = part.trim_end_matches(is_border);
        if may_be_secret(word) {
            kept.push_str(LEFT_OUT);
            kept.push_str(&part[word.len()..]);
        } else {
            kept.push_str(part);
        }
    }
    let mut end = kept.len().min(MOST);
    while !kept.is_char_boundary(end) {
        end -= 1;
    }
    kept.truncate(end);
    (!kept.is_empty()).then_some(kept)
}

fn is_border(letter: char) -> bool {
    letter.is_whitespace() || letter.is_control() || matches!(letter, '"' | '\'' | ',' | ';' | '<' | '>' | '(' | ')')
}

fn may_be_secret(word: &str) -> bool {
    let known = ["whsec_", "xt_", "sk_", "pk_", "Bearer", "eyJ"].iter().any(|prefix| word.starts_with(prefix));
    let digits = word.bytes().any(|byte| byte.is_ascii_digit());
    let letters = word.bytes().any(|byte| byte.is_ascii_alphabetic());
    known || word.contains('@') || (word.len() >= KEY_LENGTH && digits && letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_left_out() {
        for (body, expected) in [
            ("not found", Some("not found")),
            ("", None),
            (r#"{"token":"whsec_abc","who":"ann@example.com"}"#, Some(r#"{"token":"[redacted]","who":"[redacted]"}"#)),
            ("expected v1=MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Some("expected [redacted]")),
            ("a\0b", Some("a\u{fffd}b")),
        ] {
            assert_eq!(excerpt(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn at_most_a_kibibyte_is_kept_and_no_letter_is_cut() {
        let kept = excerpt("\u{e9} ".repeat(5_000).as_bytes()).expect("some");
        assert!(kept.len() <= MOST && kept.len() > MOST - 4, "{}", kept.len());
        let long = format!("{}whsec_secret", "x ".repeat(READ / 2 - 3));
        assert!(!excerpt(long.as_bytes()).expect("some").contains("whsec"));
        assert_eq!(excerpt(&[0xff, 0xfe]).as_deref(), Some("\u{fffd}\u{fffd}"));
    }
}
