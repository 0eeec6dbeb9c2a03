//! Item codes: what kind of service a line bills, as the hub calls it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest item code, in characters.
pub const LONGEST_ITEM_CODE: usize = 40;

/// What kind of service a line bills, such as `IMPLEMENTATION`: 1 to 40 letters of the English alphabet, digits, `_`,
/// `-` and `.`. Capital and small letters are different ones. The settings of a billing connection say what products,
/// accounts and taxes a code stands for there.
///
/// ```
/// use crosstie_domain::ItemCode;
///
/// assert_eq!("IMPL-2.b".parse::<ItemCode>().unwrap().as_str(), "IMPL-2.b");
/// assert!("two words".parse::<ItemCode>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ItemCode(String);

/// The text is no item code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an item code: {0:?}; it has 1 to {LONGEST_ITEM_CODE} letters, digits, `_`, `-` and `.`")]
pub struct NoItemCode(pub String);

impl ItemCode {
    /// The text of the code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ItemCode {
    type Err = NoItemCode;

    fn from_str(text: &str) -> Result<Self, NoItemCode> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for ItemCode {
    type Error = NoItemCode;

    fn try_from(text: String) -> Result<Self, NoItemCode> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let is_code = (1..=LONGEST_ITEM_CODE).contains(&text.len()) && text.bytes().all(fits);
        if is_code { Ok(Self(text)) } else { Err(NoItemCode(text)) }
    }
}

impl From<ItemCode> for String {
    fn from(code: ItemCode) -> Self {
        code.0
    }
}

impl fmt::Display for ItemCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Money, integration::Intent};

    #[test]
    fn takes_letters_digits_and_three_signs_and_nothing_else() {
        let longest = "x".repeat(LONGEST_ITEM_CODE);
        for good in ["A", "TRAINING", "go-live_2.1", "9", &longest] {
            let code: ItemCode = good.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(serde_json::to_value(&code).expect("a text"), good);
        }
        let long = "x".repeat(LONGEST_ITEM_CODE + 1);
        for bad in ["", " A", "A B", "Ä", "A/B", "A\0", "{}", &long] {
            assert_eq!(bad.parse::<ItemCode>(), Err(NoItemCode(bad.to_owned())));
            assert!(serde_json::from_value::<ItemCode>(bad.into()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_was_asked_before_there_were_item_codes_reads_and_is_written_as_it_was() {
        let id = |prefix: &str| format!("{prefix}_01h455vb4pex5vsknk084sn02q");
        let customer = serde_json::json!({ "account": id("acc"), "name": "Acme", "email": null });
        let amount = serde_json::to_value(Money::new(100, crate::Currency::USD)).expect("plain data");
        let line = serde_json::json!({ "milestone": id("ms"), "description": "All", "amount": amount });
        for before in [
            serde_json::json!({
                "intent": "place_order", "order": id("ord"), "sow": id("sow"), "customer": customer, "title": "T",
                "po_number": null, "total": amount, "lines": [line],
            }),
            serde_json::json!({
                "intent": "issue_invoice", "invoice": id("inv"), "order": id("ord"), "milestone": id("ms"),
                "customer": customer, "title": "T", "description": "All", "amount": amount,
            }),
        ] {
            let mut intent: Intent = serde_json::from_value(before.clone()).expect("it is read");
            assert_eq!(serde_json::to_value(&intent).expect("plain data"), before);
            assert_eq!(intent.lines().iter().map(|(_, code)| *code).collect::<Vec<_>>(), [None]);
            let code: Option<ItemCode> = "TRAINING".parse().ok();
            match &mut intent {
                Intent::PlaceOrder(order) => order.lines[0].item_code = code.clone(),
                Intent::IssueInvoice(invoice) => invoice.item_code = code.clone(),
                Intent::UpdateRecord(_) => {}
            }
            let read: Intent =
                serde_json::from_str(&serde_json::to_string(&intent).expect("plain data")).expect("read");
            assert_eq!(read.lines()[0].1, code.as_ref());
        }
    }
}
