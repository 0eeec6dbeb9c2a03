//! Tryton's records and scalars as its REST interface writes them.

use crosstie_sdk::{
    Fault,
    domain::{CivilDate, Instant},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A value that need not be as expected: only what uses it is left out then.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Loose<T> {
    /// As expected.
    Read(T),
    /// Something else.
    Other(Value),
}

impl<T> Loose<T> {
    /// The value, or a word about what stands there instead.
    pub(crate) fn get(&self) -> Result<&T, String> {
        match self {
            Self::Read(value) => Ok(value),
            Self::Other(value) => {
                Err(format!("not as expected: {}", value.to_string().chars().take(80).collect::<String>()))
            }
        }
    }
}

/// A field that may be empty or not be as expected.
pub(crate) type Field<T> = Option<Loose<T>>;

/// The value of a field.
pub(crate) fn value<T>(field: &Field<T>) -> Result<Option<&T>, String> {
    field.as_ref().map(Loose::get).transpose()
}

/// An exact number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "__class__", rename = "Decimal")]
pub(crate) struct Decimal {
    /// Its digits.
    pub(crate) decimal: String,
}

/// A moment in UTC, to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "__class__", rename = "datetime")]
pub(crate) struct DateTime {
    year: i16,
    month: i8,
    day: i8,
    hour: i64,
    minute: i64,
    second: i64,
    microsecond: i64,
}

/// A calendar day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "__class__", rename = "date")]
pub(crate) struct Date {
    year: i16,
    month: i8,
    day: i8,
}

impl Date {
    /// The day of the calendar.
    pub(crate) fn civil(self) -> Result<CivilDate, String> {
        let text = format!("{:04}-{:02}-{:02}", self.year, self.month, self.day);
        text.parse().map_err(|_| format!("not a day: {text}"))
    }

    /// The same day as Tryton writes it.
    pub(crate) fn of(day: CivilDate) -> Self {
        let date = day.date();
        Self { year: date.year(), month: date.month(), day: date.day() }
    }
}

impl DateTime {
    /// The moment.
    pub(crate) fn instant(self) -> Result<Instant, String> {
        let Self { year, month, day, hour, minute, second, microsecond } = self;
        let days = Date { year, month, day }.civil()?.days();
        let in_range = (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..60).contains(&second)
            && (0..1_000_000).contains(&microsecond);
        let time = ((hour * 60 + minute) * 60 + second) * 1_000_000 + microsecond;
        let instant = Instant::from_micros(i64::from(days) * MICROS_PER_DAY + time);
        instant.filter(|_| in_range).ok_or_else(|| format!("not a moment: {self:?}"))
    }

    /// The same moment as Tryton writes it.
    pub(crate) fn of(at: Instant) -> Self {
        let days = i32::try_from(at.micros().div_euclid(MICROS_PER_DAY)).ok().and_then(CivilDate::from_days);
        let Date { year, month, day } = Date::of(days.expect("an instant lies on a day of the calendar"));
        let micros = at.micros().rem_euclid(MICROS_PER_DAY);
        let seconds = micros / 1_000_000;
        Self {
            year,
            month,
            day,
            hour: seconds / 3_600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            microsecond: micros % 1_000_000,
        }
    }
}

/// What every record carries.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Stamp {
    /// Its id.
    pub(crate) id: i64,
    /// When it was made.
    pub(crate) create_date: Option<DateTime>,
    /// When it was last changed; null until then.
    pub(crate) write_date: Option<DateTime>,
}

/// A record by its display name.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Named {
    /// The name.
    pub(crate) rec_name: Option<String>,
}

/// A currency that another record refers to.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Currency {
    /// Its ISO code.
    pub(crate) code: String,
}

/// `party.party`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Party {
    /// Id and times.
    #[serde(flatten)]
    pub(crate) stamp: Stamp,
    /// Its code; the hub's id on those that the hub made.
    #[serde(default)]
    pub(crate) code: Field<String>,
    /// Name.
    pub(crate) name: Field<String>,
    /// Its first web address.
    pub(crate) website: Field<String>,
    /// Its first e-mail address.
    pub(crate) email: Field<String>,
    /// Whether it is in use; a party that is not is hidden from lists that do not ask for it.
    #[serde(default)]
    pub(crate) active: Field<bool>,
}

/// `sale.opportunity`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Opportunity {
    /// Id and times.
    #[serde(flatten)]
    pub(crate) stamp: Stamp,
    /// The number that Tryton gave it.
    pub(crate) number: Field<String>,
    /// What the seller calls it.
    pub(crate) description: Field<String>,
    /// Id of the customer.
    pub(crate) party: Field<i64>,
    /// Where it stands.
    pub(crate) state: Field<String>,
    /// Value of the whole sale.
    pub(crate) amount: Field<Decimal>,
    /// Currency of it.
    pub(crate) currency: Field<Currency>,
    /// Expected end.
    pub(crate) end_date: Field<Date>,
}

/// `account.invoice`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Invoice {
    /// Id and times.
    #[serde(flatten)]
    pub(crate) stamp: Stamp,
    /// `out` for those to customers.
    #[serde(rename = "type")]
    pub(crate) kind: Field<String>,
    /// The number that Tryton gave it.
    pub(crate) number: Field<String>,
    /// Free text; holds the hub's id.
    pub(crate) comment: Field<String>,
    /// Id of the customer.
    pub(crate) party: Field<i64>,
    /// Where it stands.
    pub(crate) state: Field<String>,
    /// Currency of its amounts.
    pub(crate) currency: Field<Currency>,
    /// What the customer calls it; the hub's key on those that the hub made.
    #[serde(default)]
    pub(crate) reference: Field<String>,
    /// What it is about.
    #[serde(default)]
    pub(crate) description: Field<String>,
    /// Total without taxes.
    #[serde(default)]
    pub(crate) untaxed_amount: Field<Decimal>,
    /// Total with taxes.
    pub(crate) total_amount: Field<Decimal>,
    /// What is still to be paid; nothing before it is posted.
    pub(crate) amount_to_pay: Field<Decimal>,
    /// Day of issue.
    pub(crate) invoice_date: Field<Date>,
    /// The parts of its total that fall due.
    pub(crate) lines_to_pay: Field<Vec<Due>>,
    /// Its lines.
    pub(crate) lines: Field<Vec<InvoiceLine>>,
}

/// `sale.sale`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Sale {
    /// Id and times.
    #[serde(flatten)]
    pub(crate) stamp: Stamp,
    /// The number that Tryton gave it.
    pub(crate) number: Field<String>,
    /// What the customer calls it; the hub's key on those that the hub made.
    pub(crate) reference: Field<String>,
    /// What is sold.
    pub(crate) description: Field<String>,
    /// Id of the customer.
    pub(crate) party: Field<i64>,
    /// Where it stands.
    pub(crate) state: Field<String>,
    /// Currency of its amounts.
    pub(crate) currency: Field<Currency>,
    /// Total without taxes.
    pub(crate) untaxed_amount: Field<Decimal>,
    /// Day of the sale.
    pub(crate) sale_date: Field<Date>,
}

/// A part of a total that falls due.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Due {
    /// The day.
    pub(crate) maturity_date: Option<Date>,
}

/// `account.invoice.line`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct InvoiceLine {
    /// `line` for those with an amount; titles and comments are others.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// What is billed.
    pub(crate) description: Option<String>,
    /// What it costs, taxes excluded.
    pub(crate) amount: Option<Decimal>,
}

/// An order or invoice on its way.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Document {
    /// Its id.
    pub(crate) id: i64,
    /// Where it stands.
    pub(crate) state: String,
    /// Id of the customer.
    pub(crate) party: i64,
}

/// Only the id of a record.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Id {
    /// The id.
    pub(crate) id: i64,
}

/// An address of a party.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Address {
    /// Its id.
    pub(crate) id: i64,
    /// Whether invoices go there.
    pub(crate) invoice: Option<bool>,
}

/// How a party can be reached.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Contacts {
    /// Those in use, in the party's order.
    pub(crate) contact_mechanisms: Vec<ContactMechanism>,
}

/// One way to reach a party.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ContactMechanism {
    /// Its id.
    pub(crate) id: i64,
    /// `email`, `website`, `phone` and others.
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// What a customer brings to documents.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct CustomerTerms {
    /// Its payment term.
    pub(crate) customer_payment_term: Option<i64>,
    /// Its account for what it owes.
    pub(crate) account_receivable: Option<i64>,
}

/// What a product brings to lines.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Product {
    /// Its unit.
    pub(crate) default_uom: Option<i64>,
    /// Where its account stands.
    pub(crate) template: Option<Template>,
}

/// The template of a product.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Template {
    /// Its category for accounts.
    pub(crate) account_category: Option<AccountCategory>,
}

/// A category for accounts.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AccountCategory {
    /// Where revenue is booked.
    pub(crate) account_revenue: Option<i64>,
}

/// A product that an item code stands for.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ItemProduct {
    /// Its id.
    pub(crate) id: i64,
    /// Whether it is in use.
    pub(crate) active: Option<bool>,
    /// Whether it is sold.
    pub(crate) salable: Option<bool>,
    /// Its unit.
    pub(crate) default_uom: Option<i64>,
    /// Where its account stands.
    pub(crate) template: Option<Template>,
}

/// An account that an item code stands for.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ItemAccount {
    /// Its id.
    pub(crate) id: i64,
    /// Whether it is in use.
    pub(crate) active: Option<bool>,
    /// Whether nothing is booked to it any more.
    pub(crate) closed: Option<bool>,
    /// Whose it is.
    pub(crate) company: Option<i64>,
    /// What is booked to it.
    #[serde(rename = "type")]
    pub(crate) kind: Option<AccountKind>,
}

/// What is booked to an account.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct AccountKind {
    /// Whether revenue is.
    pub(crate) revenue: Option<bool>,
}

/// A tax that an item code stands for.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct ItemTax {
    /// Its id.
    pub(crate) id: i64,
    /// Whether it is in use.
    pub(crate) active: Option<bool>,
    /// Whose it is.
    pub(crate) company: Option<i64>,
}

/// A line of a draft, as far as item codes decide of it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DraftLine {
    /// The product.
    pub(crate) product: Option<i64>,
    /// The revenue account; none of a line of an order.
    #[serde(default)]
    pub(crate) account: Option<i64>,
    /// The taxes.
    pub(crate) taxes: Option<Vec<i64>>,
}

/// The configured default accounts.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct DefaultAccounts {
    /// For what customers owe.
    pub(crate) default_account_receivable: Option<i64>,
    /// For revenue.
    pub(crate) default_category_account_revenue: Option<i64>,
}

/// Why Tryton refused.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Refusal {
    /// In a sentence.
    pub(crate) message: String,
    /// In more words.
    #[serde(default)]
    pub(crate) description: String,
}

/// Reads a record that must be as expected.
pub(crate) fn read<T: DeserializeOwned>(raw: Value) -> Result<T, Fault> {
    serde_json::from_value(raw).map_err(|error| Fault::Shape { path: "$".to_owned(), why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_its_written_form() {
        for text in ["2026-11-23T12:13:07.628441Z", "1969-12-31T23:59:59.999999Z", "2028-02-29T00:00:00Z"] {
            let at: Instant = text.parse().expect("a moment");
            assert_eq!(DateTime::of(at).instant(), Ok(at));
        }
        let raw = serde_json::json!({"__class__": "datetime", "year": 2026, "month": 11, "day": 23, "hour": 12,
            "minute": 13, "second": 7, "microsecond": 628_441});
        let read: DateTime = serde_json::from_value(raw.clone()).expect("a moment as Tryton writes it");
        assert_eq!(read.instant().expect("a moment").to_string(), "2026-11-23T12:13:07.628441Z");
        assert_eq!(serde_json::to_value(read).expect("plain data"), raw);
    }

    #[test]
    fn a_moment_that_does_not_exist_is_refused() {
        for (month, day, hour) in [(13, 1, 0), (2, 30, 0), (1, 1, 24)] {
            let moment = DateTime { year: 2026, month, day, hour, minute: 0, second: 0, microsecond: 0 };
            assert!(moment.instant().is_err());
        }
    }
}
