//! Finding what was erased in any text, without knowing it: by keyed hashes of all that could be it.
//!
//! A text is read as it stands and, where it has escapes, with those of JSON and of addresses undone; base64 is read
//! as what it says. E-mail addresses and names are compared without regard to case. What is compressed or encrypted,
//! or written in other encodings, is not seen.

use std::{collections::HashMap, ops::Range};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use crosstie_domain::integration::erasure::{ErasedValue, mark};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The longest name, in words.
pub(super) const MOST_WORDS: usize = 8;
/// Characters that may stand between two words of a name.
const GAP: usize = 3;
/// The longest e-mail address that is looked at, in characters.
const LONGEST: usize = 320;
/// Shorter runs of its letters are not read as base64.
const SHORTEST_BASE64: usize = 12;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The key that erased values are marked with.
#[derive(Clone)]
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The keyed hash of a value in its plain form: with the key alone can a guess be tested.
    fn hash(&self, plain: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length is taken");
        mac.update(plain.as_bytes());
        hex::encode(&mac.finalize().into_bytes()[..16])
    }

    /// An e-mail address as it is looked for.
    pub(super) fn email(&self, address: &str) -> (String, i32, i32) {
        let plain = address.trim().to_lowercase();
        (self.hash(&plain), 0, letters(&plain))
    }

    /// A name as it is looked for.
    pub(super) fn name(&self, name: &str) -> (String, i32, i32) {
        let words = words(&units(name, false));
        let plain = words.iter().map(|word| word.plain.as_str()).collect::<Vec<_>>().join(" ");
        (self.hash(&plain), i32::try_from(words.len()).unwrap_or(i32::MAX), letters(&plain))
    }
}

fn letters(plain: &str) -> i32 {
    i32::try_from(plain.chars().count()).unwrap_or(i32::MAX)
}

/// How many words a name has.
pub(super) fn count_words(name: &str) -> usize {
    words(&units(name, false)).len()
}

/// What must not be kept.
pub struct Erased {
    key: Key,
    /// For each number of words, which lengths there are, with the hashes of that length.
    known: HashMap<(i32, i32), Vec<String>>,
    most_words: usize,
}

impl Erased {
    pub(super) fn new(key: Key, values: &[ErasedValue]) -> Self {
        let mut known: HashMap<(i32, i32), Vec<String>> = HashMap::new();
        for value in values {
            known.entry((value.words, value.letters)).or_default().push(value.hash.clone());
        }
        let most_words = values.iter().map(|value| usize::try_from(value.words).unwrap_or(0)).max().unwrap_or(0);
        Self { key, known, most_words }
    }

    pub(super) fn nothing() -> Self {
        Self { key: Key(Vec::new()), known: HashMap::new(), most_words: 0 }
    }

    /// Whether nothing was ever erased.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The text with marks in place of what was erased; `None` when nothing of it is in there.
    pub fn mask(&self, text: &str) -> Option<String> {
        if self.known.is_empty() {
            return None;
        }
        let mut spans = self.plain(text);
        spans.extend(self.base64(text));
        replaced(text, spans)
    }

    /// The same, always with a text.
    pub fn masked(&self, text: String) -> String {
        self.mask(&text).unwrap_or(text)
    }

    fn plain(&self, text: &str) -> Vec<Span> {
        let mut spans = self.find(&units(text, false));
        if text.contains(['\\', '%', '+']) {
            spans.extend(self.find(&units(text, true)));
        }
        spans
    }

    fn find(&self, units: &[Unit]) -> Vec<Span> {
        let mut spans = Vec::new();
        // A name within an address is that of whoever has the address.
        let mut addresses = Vec::new();
        for (at, _) in units.iter().enumerate().filter(|(_, unit)| unit.letter == '@') {
            spans.extend(self.address(units, at));
            let local = units[..at].iter().rev().take(LONGEST).take_while(|unit| is_local(unit.letter)).count();
            addresses.push(units[at - local].start..units[at].start);
        }
        if self.most_words > 0 {
            let words = words(units);
            for first in 0..words.len() {
                let mut plain = String::new();
                for (count, word) in words[first..].iter().take(self.most_words).enumerate() {
                    if count > 0 {
                        if !word.follows {
                            break;
                        }
                        plain.push(' ');
                    }
                    plain.push_str(&word.plain);
                    let count = i32::try_from(count + 1).unwrap_or(i32::MAX);
                    let within = |of: &Range<usize>| of.contains(&words[first].start) && word.end <= of.end;
                    if let Some(hash) = self.known(&plain, count).filter(|_| !addresses.iter().any(within)) {
                        spans.push(Span { start: words[first].start, end: word.end, instead: mark(&hash) });
                    }
                }
            }
        }
        spans
    }

    /// The address around an `@`, if it was erased.
    fn address(&self, units: &[Unit], at: usize) -> Option<Span> {
        let local = units[..at].iter().rev().take(LONGEST).take_while(|unit| is_local(unit.letter)).count();
        let domain = units[at + 1..].iter().take(LONGEST);
        let domain = domain.take_while(|unit| unit.letter.is_alphanumeric() || matches!(unit.letter, '.' | '-'));
        let mut end = at + 1 + domain.count();
        while end > at + 1 && !units[end - 1].letter.is_alphanumeric() {
            end -= 1;
        }
        // What may stand in an address may also end what stands before it: `to=ann@example.com`.
        (at - local..at).find_map(|from| {
            let begins = from == at - local || is_mark(units[from - 1].letter) || is_edge(&units[at - local..from]);
            let plain: String = units[from..end].iter().flat_map(|unit| unit.letter.to_lowercase()).collect();
            let hash = begins.then(|| self.known(&plain, 0)).flatten()?;
            Some(Span { start: units[from].start, end: units[end - 1].end, instead: mark(&hash) })
        })
    }

    /// The hash of a value in its plain form, if it was erased.
    fn known(&self, plain: &str, words: i32) -> Option<String> {
        let hashes = self.known.get(&(words, letters(plain)))?;
        let hash = self.key.hash(plain);
        hashes.contains(&hash).then_some(hash)
    }

    /// What stands in base64. A text glued before it shifts it, so each of the four ways to cut it is read.
    fn base64(&self, text: &str) -> Vec<Span> {
        let bytes = text.as_bytes();
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
        let mut spans = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let length = bytes[at..].iter().take_while(|byte| is_letter(byte)).count();
            if length >= SHORTEST_BASE64 {
                let run = &text[at..at + length];
                let padding = bytes[at + length..].iter().take_while(|byte| **byte == b'=').count().min(2);
                let found = (0..4).find_map(|cut| Some((cut, self.said_in_base64(&run[cut..])?)));
                if let Some((cut, instead)) = found {
                    spans.push(Span { start: at + cut, end: at + length + padding, instead });
                }
            }
            at += length.max(1);
        }
        spans
    }

    fn said_in_base64(&self, run: &str) -> Option<String> {
        let is_for_addresses = run.contains(['-', '_']);
        let standard = run.replace('-', "+").replace('_', "/");
        let whole = standard.len() - usize::from(standard.len() % 4 == 1);
        let decoded = BASE64.decode(&standard[..whole]).ok()?;
        let text = String::from_utf8_lossy(&decoded);
        let now = replaced(&text, self.plain(&text))?;
        let written = BASE64.encode(now);
        Some(if is_for_addresses { written.replace('+', "-").replace('/', "_") } else { written })
    }
}

/// A part of a text that is to be replaced.
struct Span {
    start: usize,
    end: usize,
    instead: String,
}

fn replaced(text: &str, mut spans: Vec<Span>) -> Option<String> {
    // Of those that overlap the longest goes first.
    spans.sort_by_key(|span| (span.start, usize::MAX - span.end));
    let (mut now, mut at) = (String::new(), 0);
    let any = !spans.is_empty();
    for span in spans {
        if span.start < at {
            continue;
        }
        now.push_str(&text[at..span.start]);
        now.push_str(&span.instead);
        at = span.end;
    }
    now.push_str(&text[at..]);
    any.then_some(now)
}

/// A letter, and where it stands in the text, escapes included.
struct Unit {
    letter: char,
    start: usize,
    end: usize,
}

/// The letters of a text; with escapes undone, if they are to be.
fn units(text: &str, undo: bool) -> Vec<Unit> {
    let mut units = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        let undone = if undo { escaped(&text[at..]) } else { None };
        let (letter, length) = undone.unwrap_or((letter, letter.len_utf8()));
        units.push(Unit { letter, start: at, end: at + length });
        at += length;
    }
    units
}

/// The letter that an escape at the beginning of a text stands for, and how long the escape is.
fn escaped(text: &str) -> Option<(char, usize)> {
    let bytes = text.as_bytes();
    match bytes.first()? {
        b'%' => percent(bytes),
        b'+' => Some((' ', 1)),
        b'\\' => {
            // JSON within JSON escapes the escapes.
            let slashes = bytes.iter().take_while(|byte| **byte == b'\\').count();
            match bytes.get(slashes)? {
                b'u' => {
                    let unit = |at: usize| u16::from_str_radix(text.get(at..at + 4)?, 16).ok();
                    let first = unit(slashes + 1)?;
                    let end = slashes + 5;
                    if let Some(letter) = char::from_u32(u32::from(first)) {
                        return Some((letter, end));
                    }
                    let more = bytes[end..].iter().take_while(|byte| **byte == b'\\').count();
                    let second = unit(end + more + 1)?;
                    let letter = char::decode_utf16([first, second]).next()?.ok()?;
                    Some((letter, end + more + 5))
                }
                b'n' | b'r' | b't' | b'b' | b'f' => Some((' ', slashes + 1)),
                b'"' => Some(('"', slashes + 1)),
                b'/' => Some(('/', slashes + 1)),
                _ => Some(('\\', slashes)),
            }
        }
        _ => None,
    }
}

/// A letter in the manner of addresses, also when it was escaped more than once.
fn percent(bytes: &[u8]) -> Option<(char, usize)> {
    let one = |at: usize| -> Option<(u8, usize)> {
        let mut from = at.checked_add(1).filter(|_| bytes.get(at) == Some(&b'%'))?;
        let hex = |from: usize| std::str::from_utf8(bytes.get(from..from + 2)?).ok();
        while hex(from)? == "25" && hex(from + 2).is_some_and(|next| u8::from_str_radix(next, 16).is_ok()) {
            from += 2;
        }
        Some((u8::from_str_radix(hex(from)?, 16).ok()?, from + 2))
    };
    let (first, mut end) = one(0)?;
    let more = match first {
        0x00..=0x7f => 0,
        0xc0..=0xdf => 1,
        0xe0..=0xef => 2,
        0xf0..=0xf7 => 3,
        _ => return None,
    };
    let mut letter = vec![first];
    for _ in 0..more {
        let (byte, next) = one(end)?;
        letter.push(byte);
        end = next;
    }
    Some((std::str::from_utf8(&letter).ok()?.chars().next()?, end))
}

/// A word in lower case.
struct Word {
    plain: String,
    start: usize,
    end: usize,
    /// Whether it stands close enough behind the word before it.
    follows: bool,
}

fn words(units: &[Unit]) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let (mut is_inside, mut gap) = (false, usize::MAX);
    for unit in units {
        if unit.letter.is_alphanumeric() {
            match words.last_mut().filter(|_| is_inside) {
                Some(word) => {
                    word.plain.extend(unit.letter.to_lowercase());
                    word.end = unit.end;
                }
                None => words.push(Word {
                    plain: unit.letter.to_lowercase().collect(),
                    start: unit.start,
                    end: unit.end,
                    follows: gap <= GAP,
                }),
            }
            (is_inside, gap) = (true, 0);
        } else {
            is_inside = false;
            // What parts fields parts names.
            let parts = matches!(unit.letter, '"' | '{' | '}' | '[' | ']' | '<' | '>' | '=' | '&' | ':' | ';' | '|');
            gap = if parts { usize::MAX } else { gap.saturating_add(1) };
        }
    }
    words
}

/// What the part of an address before the `@` may be made of.
fn is_local(letter: char) -> bool {
    letter.is_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(letter)
}

/// What may stand in an address and mostly does not.
fn is_mark(letter: char) -> bool {
    "!#$%&'*+/=?^`{|}~".contains(letter)
}

/// Whether no letter or digit came so far.
fn is_edge(before: &[Unit]) -> bool {
    before.iter().all(|unit| !unit.letter.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::any, proptest};

    use super::*;

    fn erased(emails: &[&str], names: &[&str]) -> Erased {
        let key = Key::new(vec![7; 32]);
        let emails = emails.iter().map(|email| key.email(email));
        let values = emails.chain(names.iter().map(|name| key.name(name))).map(|(hash, words, letters)| ErasedValue {
            hash,
            erasure: "ers_00000000000000000000000001".parse().expect("an identifier"),
            words,
            letters,
        });
        let values: Vec<_> = values.collect();
        Erased::new(key, &values)
    }

    fn ann() -> Erased {
        erased(&["ann.lee@example.com"], &["Ann Lee", "Zoë Müller-Lee"])
    }

    /// The text with every mark shown as `X`.
    fn shown(erased: &Erased, text: &str) -> String {
        let mut now = erased.mask(text).unwrap_or_else(|| text.to_owned());
        let hashes: Vec<String> =
            crosstie_domain::integration::erasure::marks_in(&now).into_iter().map(str::to_owned).collect();
        for hash in hashes {
            now = now.replace(&mark(&hash), "X");
        }
        now
    }

    #[test]
    fn what_was_erased_is_found_however_it_is_written() {
        for (text, expected) in [
            ("ann.lee@example.com", "X"),
            ("to ANN.Lee@Example.COM.", "to X."),
            ("<ann.lee@example.com>, bob@example.com", "<X>, bob@example.com"),
            ("mailto:ann.lee@example.com?x=1", "mailto:X?x=1"),
            ("email=ann.lee%40example.com&a=1", "email=X&a=1"),
            ("q=ann.lee%2540example.com", "q=X"),
            ("{\"a\":\"ann.lee\\u0040example.com\"}", "{\"a\":\"X\"}"),
            ("{\"a\":\"{\\\"b\\\":\\\"ann.lee@example.com\\\"}\"}", "{\"a\":\"{\\\"b\\\":\\\"X\\\"}\"}"),
            ("line\\nann.lee@example.com", "line\\nX"),
            ("Ann Lee", "X"),
            ("Dear ann  LEE, hello", "Dear X, hello"),
            ("name=Ann+Lee&x", "name=X&x"),
            ("name=Ann%20Lee", "name=X"),
            ("Zo\\u00eb M\\u00FCller Lee", "X"),
            ("zo%C3%AB%20m%c3%bcller-lee", "X"),
            ("{\"name\":\"Ann Lee\",\"other\":1.10}", "{\"name\":\"X\",\"other\":1.10}"),
        ] {
            assert_eq!(shown(&ann(), text), expected, "{text}");
        }
    }

    #[test]
    fn what_belongs_to_others_stays() {
        for text in [
            "joann.lee@example.com",
            "ann.lee@example.com.au",
            "ann.lee@example.community",
            "x.ann.lee@example.com",
            "ann-ann.lee@example.com",
            "Joann Lee",
            "Ann Leeds",
            "[\"Ann\",\"Lee\"]",
            "first=Ann&last=Lee",
            "Ann",
            "",
        ] {
            assert_eq!(ann().mask(text), None, "{text}");
        }
        assert_eq!(erased(&[], &[]).mask("ann.lee@example.com"), None);
    }

    #[test]
    fn base64_is_read_at_every_distance_and_written_again() {
        let standard = base64::prelude::BASE64_STANDARD;
        let ann = ann();
        for before in ["", "a", "ab", "abc"] {
            let written = standard.encode(format!("{before} ann.lee@example.com, and more"));
            for glued in ["", "x", "xy", "xyz"] {
                let now = ann.mask(&format!("{{\"d\":\"{glued}{written}\"}}")).expect("it is found");
                let inner = now.trim_start_matches("{\"d\":\"").trim_end_matches("\"}");
                let decoded = BASE64.decode(&inner[glued.len()..]).expect("it is base64");
                let decoded = String::from_utf8(decoded).expect("it is text");
                assert_eq!(
                    decoded.replace(&mark(&ann.key.email("ann.lee@example.com").0), "X"),
                    format!("{before} X, and more")
                );
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_masked_is_found_no_more_and_any_text_is_taken(text in any::<String>(), at in 0..40_usize) {
            let ann = ann();
            let at = text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
            let with = format!("{} ann.lee@example.com {}", &text[..at], &text[at..]);
            let masked = ann.mask(&with).expect("it is in there");
            assert!(!masked.contains("ann.lee@example.com"));
            assert_eq!(ann.mask(&masked), None);
        }
    }
}
