//! The limits on the bare text of a document, held before the parser sees it: bytes, tokens, brackets inside brackets.
//!
//! The parser descends once per open bracket on the stack of the worker, so a document of nothing but brackets would
//! end the process. Counting tokens first is cheap and bounds everything after it.

use crate::request_guard::GuardError;

const DOCUMENT_BYTES: u64 = 100 * 1024;
const TOKENS: u64 = 10_000;
/// Open brackets of any kind at one place; the parser itself gives up at 64 selection sets.
const BRACKETS: u64 = 64;

/// Holds the text of a document against the limits.
///
/// # Errors
///
/// `QUERY_TOO_COMPLEX` for a limit that was passed, `GRAPHQL_PARSE_FAILED` for a string without an end.
pub(crate) fn scan(source: &str) -> Result<(), GuardError> {
    let bytes = u64::try_from(source.len()).unwrap_or(u64::MAX);
    if bytes > DOCUMENT_BYTES {
        return Err(GuardError::over_limit("documentBytes", DOCUMENT_BYTES, bytes));
    }
    let mut rest = source.trim_start_matches(is_ignored);
    let (mut tokens, mut open) = (0_u64, 0_u64);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            '"' => string_length(rest)?,
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => {
                let after = rest.get(1..).unwrap_or_default();
                1 + after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(after.len())
            }
            '.' => rest.find(|c| c != '.').unwrap_or(rest.len()),
            other => other.len_utf8(),
        };
        match first {
            '{' | '[' | '(' => open += 1,
            '}' | ']' | ')' => open = open.saturating_sub(1),
            _ => {}
        }
        tokens += u64::from(first != '#');
        if tokens > TOKENS {
            return Err(GuardError::over_limit("tokens", TOKENS, tokens));
        }
        if open > BRACKETS {
            return Err(GuardError::over_limit("depth", BRACKETS, open));
        }
        rest = rest.get(length..).unwrap_or_default().trim_start_matches(is_ignored);
    }
    Ok(())
}

fn is_ignored(character: char) -> bool {
    matches!(character, ' ' | ',' | '\t' | '\n' | '\r' | '\u{feff}')
}

/// Bytes of the string that `rest` begins with, its quotes included.
fn string_length(rest: &str) -> Result<usize, GuardError> {
    let unterminated = || GuardError::new("GRAPHQL_PARSE_FAILED", "A string has no end.");
    if let Some(block) = rest.strip_prefix("\"\"\"") {
        let mut from = 0;
        loop {
            let found = block.get(from..).and_then(|tail| tail.find("\"\"\"")).ok_or_else(unterminated)? + from;
            if !block.get(..found).is_some_and(|before| before.ends_with('\\')) {
                return Ok(found + 6);
            }
            from = found + 3;
        }
    }
    let mut escaped = false;
    for (index, character) in rest.char_indices().skip(1) {
        match character {
            '\n' | '\r' => break,
            '"' if !escaped => return Ok(index + 1),
            _ => escaped = character == '\\' && !escaped,
        }
    }
    Err(unterminated())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> Option<&'static str> {
        scan(source).err().map(|error| error.code())
    }

    #[test]
    fn counts_tokens_and_not_what_is_inside_strings_and_comments() {
        assert_eq!(code(&"a ".repeat(10_000)), None);
        assert_eq!(code(&"a ".repeat(10_001)), Some("QUERY_TOO_COMPLEX"));
        assert_eq!(code(&format!("{{ a(b: \"{}\") }}", "{ ".repeat(20_000))), None);
        assert_eq!(code(&format!("{{ a(b: \"\"\" \\\"\"\" {} \"\"\") }}", "{ ".repeat(20_000))), None);
        assert_eq!(code(&format!("# {}\n{{ a }}", "{ ".repeat(20_000))), None);
    }

    #[test]
    fn refuses_brackets_that_would_exhaust_the_stack() {
        assert_eq!(code(&format!("{{ a(b: {}", "[".repeat(5_000))), Some("QUERY_TOO_COMPLEX"));
        assert_eq!(code(&format!("{{ a(b: [\"\"\"x\" {}", "[".repeat(5_000))), Some("GRAPHQL_PARSE_FAILED"));
        assert_eq!(code("{ a(b: \"é\\\" \") }"), None);
    }

    #[test]
    fn refuses_a_document_over_the_limit_of_bytes() {
        assert_eq!(code(&" ".repeat(100 * 1024 + 1)), Some("QUERY_TOO_COMPLEX"));
    }
}
