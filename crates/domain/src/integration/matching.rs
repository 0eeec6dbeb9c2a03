//! Whether a customer of one system is an account that is known already: matches, with scores and evidence.
//!
//! A score of [`LINK`] or more links by itself when it is the only one; one of [`CANDIDATE`] or more is shown to a person.

use serde::{Deserialize, Serialize};

/// From here on a match links by itself, if it is the only one.
pub const LINK: i32 = 100;
/// From here on a match is shown to a person.
pub const CANDIDATE: i32 = 60;

/// What speaks for a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, async_graphql::Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MatchEvidence {
    /// The system keeps the id that the hub gave the account: 100.
    ExternalId,
    /// The same internet domain: 80.
    Domain,
    /// The same e-mail address for invoices: 80.
    Email,
    /// The e-mail address of one is in the domain of the other: 50.
    EmailDomain,
    /// The same name, but for its case, punctuation and legal form: 60.
    Name,
}

impl MatchEvidence {
    /// How much it weighs.
    pub fn weight(self) -> i32 {
        match self {
            Self::ExternalId => 100,
            Self::Domain | Self::Email => 80,
            Self::Name => 60,
            Self::EmailDomain => 50,
        }
    }
}

/// What an account is compared by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MatchKeys {
    /// The name as it is compared; none when nothing of it is left.
    pub name: Option<String>,
    /// The internet domain.
    pub domain: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
}

/// Mail providers whose domain says nothing of a customer.
const PUBLIC_MAIL: [&str; 18] = [
    "gmail.com",
    "googlemail.com",
    "outlook.com",
    "hotmail.com",
    "live.com",
    "msn.com",
    "yahoo.com",
    "ymail.com",
    "icloud.com",
    "me.com",
    "aol.com",
    "gmx.de",
    "gmx.net",
    "web.de",
    "proton.me",
    "protonmail.com",
    "mail.ru",
    "qq.com",
];

/// Legal forms that stand at the end of names.
const LEGAL_FORMS: [&str; 27] = [
    "inc",
    "incorporated",
    "ltd",
    "limited",
    "llc",
    "llp",
    "plc",
    "corp",
    "corporation",
    "co",
    "company",
    "gmbh",
    "ag",
    "kg",
    "se",
    "sa",
    "sas",
    "sarl",
    "srl",
    "spa",
    "bv",
    "nv",
    "ab",
    "as",
    "oy",
    "pty",
    "kk",
];

impl MatchKeys {
    /// The keys of an account that says this of itself.
    pub fn of(name: Option<&str>, domain: Option<&str>, email: Option<&str>) -> Self {
        let bare = |text: &str| text.trim().trim_end_matches('.').to_lowercase();
        let name = name.map(normalized_name).filter(|name| !name.is_empty());
        let domain = domain.map(|domain| bare(domain).trim_start_matches("www.").to_owned());
        let domain = domain.filter(|domain| domain.contains('.') && !PUBLIC_MAIL.contains(&domain.as_str()));
        let email = email.map(bare).filter(|email| email.contains('@'));
        Self { name, domain, email }
    }

    /// The domain of the e-mail address, unless it is one that anybody can have.
    pub fn email_domain(&self) -> Option<&str> {
        let (_, domain) = self.email.as_deref()?.rsplit_once('@')?;
        (!PUBLIC_MAIL.contains(&domain)).then_some(domain)
    }

    /// What speaks for these two being one account, and how much, at most 100.
    pub fn compare(&self, other: &Self) -> (i32, Vec<MatchEvidence>) {
        let same = |left: Option<&str>, right: Option<&str>| left.is_some() && left == right;
        let mut evidence = Vec::new();
        if same(self.domain.as_deref(), other.domain.as_deref()) {
            evidence.push(MatchEvidence::Domain);
        }
        if same(self.email.as_deref(), other.email.as_deref()) {
            evidence.push(MatchEvidence::Email);
        } else if same(self.email_domain(), other.domain.as_deref())
            || same(self.domain.as_deref(), other.email_domain())
        {
            evidence.push(MatchEvidence::EmailDomain);
        }
        if same(self.name.as_deref(), other.name.as_deref()) {
            evidence.push(MatchEvidence::Name);
        }
        let score = evidence.iter().map(|evidence| evidence.weight()).sum::<i32>().min(100);
        (score, evidence)
    }
}

/// A name as it is compared: in lower case, letters and digits alone, without the legal form at its end.
///
/// ```
/// use crosstie_domain::integration::matching::normalized_name;
///
/// assert_eq!(normalized_name("ACME Holding, Inc."), "acme holding");
/// assert_eq!(normalized_name("Müller & Söhne GmbH & Co. KG"), "müller söhne");
/// assert_eq!(normalized_name("Co."), "co");
/// ```
pub fn normalized_name(name: &str) -> String {
    let lower = name.to_lowercase().replace(['\'', '’', '.'], "");
    let words = lower.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut words: Vec<&str> = words.collect();
    while words.len() > 1 && words.last().is_some_and(|word| LEGAL_FORMS.contains(word)) {
        words.pop();
    }
    words.join(" ").chars().take(200).collect()
}

/// What was found for a record that was not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matched<T> {
    /// It is this one.
    Link(T),
    /// It is nobody for sure; these may be the same.
    Candidates(Vec<(T, i32, Vec<MatchEvidence>)>),
}

/// Decides among accounts that have something in common with one that is not known yet. `is_free` tells whether the
/// system does not know that account under another id: a system that keeps two of them means two.
pub fn choose<T: Clone>(keys: &MatchKeys, known: &[(T, MatchKeys)], is_free: impl Fn(&T) -> bool) -> Matched<T> {
    let mut found: Vec<_> = known
        .iter()
        .map(|(record, other)| {
            let (score, evidence) = keys.compare(other);
            (record.clone(), score, evidence)
        })
        .filter(|(_, score, _)| *score >= CANDIDATE)
        .collect();
    found.sort_by_key(|(_, score, _)| std::cmp::Reverse(*score));
    let sure: Vec<_> = found.iter().filter(|(_, score, _)| *score >= LINK).collect();
    match sure.as_slice() {
        [(record, _, _)] if is_free(record) => Matched::Link(record.clone()),
        _ => Matched::Candidates(found),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(name: &str, domain: &str, email: &str) -> MatchKeys {
        let some = |text: &'static str| (!text.is_empty()).then_some(text);
        let leak = |text: &str| some(Box::leak(text.to_owned().into_boxed_str()));
        MatchKeys::of(leak(name), leak(domain), leak(email))
    }

    #[test]
    fn evidence_adds_up() {
        use MatchEvidence::{Domain, Email, EmailDomain, Name};
        let check = |left: MatchKeys, right: MatchKeys, score: i32, evidence: &[MatchEvidence]| {
            assert_eq!(left.compare(&right), (score, evidence.to_vec()), "{left:?} {right:?}");
            assert_eq!(right.compare(&left).0, score, "it does not matter who is compared to whom");
        };
        check(keys("Acme", "acme.example", ""), keys("ACME, Inc.", "www.Acme.example", ""), 100, &[Domain, Name]);
        check(keys("Acme", "acme.example", ""), keys("ACME Inc", "", "ap@acme.example"), 100, &[EmailDomain, Name]);
        check(keys("Acme", "acme.example", ""), keys("Acme Holding", "acme.example", ""), 80, &[Domain]);
        check(keys("A", "", "ap@acme.example"), keys("B", "", "AP@acme.example"), 80, &[Email]);
        check(keys("Acme", "", "x@gmail.com"), keys("Other", "gmail.com", "y@gmail.com"), 0, &[]);
        check(keys("Acme", "", ""), keys("ACME Ltd", "", ""), 60, &[Name]);
        check(keys("", "", ""), keys("", "", ""), 0, &[]);
        check(keys("!!!", "", ""), keys("???", "", ""), 0, &[]);
    }

    #[test]
    fn only_one_sure_match_that_is_free_links() {
        let new = keys("Acme", "acme.example", "");
        let known = [(1, keys("ACME Inc", "acme.example", "")), (2, keys("Acme", "", ""))];
        assert_eq!(choose(&new, &known, |_| true), Matched::Link(1));
        let Matched::Candidates(taken) = choose(&new, &known, |_| false) else { panic!("it is not free") };
        assert_eq!(taken.iter().map(|(record, score, _)| (*record, *score)).collect::<Vec<_>>(), [(1, 100), (2, 60)]);
        let twice = [known[0].clone(), (3, keys("acme", "acme.example", ""))];
        assert!(matches!(choose(&new, &twice, |_| true), Matched::Candidates(both) if both.len() == 2));
        assert_eq!(choose(&new, &[(4, keys("Other", "", ""))], |_| true), Matched::Candidates(vec![]));
    }

    proptest! {
        #[test]
        fn a_name_is_compared_the_same_however_it_is_written(name in "\\PC{0,40}") {
            let once = normalized_name(&name);
            prop_assert_eq!(&normalized_name(&once), &once);
            prop_assert_eq!(&normalized_name(&format!("  {name} ,")), &once);
        }
    }
}
