//! What lines that are to be billed would go out with by another mapping.

use async_graphql::{ID, SimpleObject};
use crosstie_app::{Outbound, OutboundLine};
use crosstie_domain::access::Sensitivity;

use crate::access::sensitivity;

/// A value that a line goes out with.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct MappingCode {
    /// The name of the setting, such as `product`, `account` or `tax_rates`.
    name: String,
    /// What is sent for it, in the vendor's terms.
    value: String,
}

/// What a line goes out with by one mapping.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct MappingCodes {
    /// What is set; empty for a line that goes out with its text and amount alone, and for one that is refused.
    codes: Vec<MappingCode>,
    /// Why it would be refused: a stable code; null when it goes out.
    refusal_code: Option<String>,
    /// Why it would be refused, and where to set what is missing.
    refusal: Option<String>,
}

/// A line that is to be billed, as it goes out by a mapping.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct MappingLine {
    /// The milestone that it bills.
    milestone_id: ID,
    /// The key of the order or invoice that waits to be sent, or was refused; null while nobody has asked for it.
    effect_key: Option<String>,
    /// Its item code; null when it has none.
    item_code: Option<String>,
    /// What it goes out with by the mapping in force.
    now: MappingCodes,
    /// What it would go out with.
    then: MappingCodes,
}

impl From<Outbound> for MappingCodes {
    fn from(outbound: Outbound) -> Self {
        match outbound {
            Outbound::Codes(codes) => {
                let codes = codes.into_iter().map(|(name, value)| MappingCode { name, value }).collect();
                Self { codes, refusal_code: None, refusal: None }
            }
            Outbound::Refused { code, why } => Self { codes: Vec::new(), refusal_code: Some(code), refusal: Some(why) },
        }
    }
}

impl From<OutboundLine> for MappingLine {
    fn from(line: OutboundLine) -> Self {
        let OutboundLine { milestone_id, effect_key, item_code, now, then } = line;
        let item_code = item_code.map(String::from);
        Self { milestone_id: milestone_id.into(), effect_key, item_code, now: now.into(), then: then.into() }
    }
}
