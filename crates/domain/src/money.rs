//! Money: minor units and a currency. Adding two currencies is an error, and nothing here is a float.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::scalar::text_scalar;

/// A currency by its ISO 4217 code, with the number of decimals that its minor unit has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

text_scalar!(
    Currency as "Currency": "A currency by its ISO 4217 code, such as `USD`.",
    specified by "https://www.iso.org/iso-4217-currency-codes.html"
);

/// The text was not three letters of a currency that is in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO 4217 currency code: {0:?}")]
pub struct UnknownCurrency(pub String);

/// ISO 4217 codes in use (2024), by the number of decimals of the minor unit.
const NO_DECIMALS: &[&str] =
    &["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"];
const THREE_DECIMALS: &[&str] = &["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];
const TWO_DECIMALS: &[&str] = &[
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BGN", "BMD", "BND", "BOB",
    "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHF", "CNY", "COP", "CRC", "CUP", "CVE", "CZK", "DKK",
    "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS", "GIP", "GMD", "GTQ", "GYD", "HKD",
    "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IRR", "JMD", "KES", "KGS", "KHR", "KPW", "KYD", "KZT", "LAK", "LBP",
    "LKR", "LRD", "LSL", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR", "MWK", "MXN", "MYR",
    "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "PAB", "PEN", "PGK", "PHP", "PKR", "PLN", "QAR", "RON", "RSD",
    "RUB", "SAR", "SBD", "SCR", "SDG", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD", "SSP", "STN", "SVC", "SYP", "SZL",
    "THB", "TJS", "TMT", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "USD", "UYU", "UZS", "VES", "WST", "XCD", "YER",
    "ZAR", "ZMW", "ZWG",
];

impl Currency {
    /// United States dollar.
    pub const USD: Self = Self(*b"USD");
    /// Euro.
    pub const EUR: Self = Self(*b"EUR");
    /// Japanese yen, which has no minor unit.
    pub const JPY: Self = Self(*b"JPY");

    /// The three letters.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a currency is three ASCII letters")
    }

    /// Decimals of the minor unit by ISO 4217: 0 for JPY, 2 for USD, 3 for KWD.
    pub fn decimals(self) -> u32 {
        if NO_DECIMALS.contains(&self.code()) {
            0
        } else if THREE_DECIMALS.contains(&self.code()) {
            3
        } else {
            2
        }
    }
}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    /// Reads a code in either case; vendors write both.
    fn from_str(text: &str) -> Result<Self, UnknownCurrency> {
        let code = text.to_ascii_uppercase();
        let known = [TWO_DECIMALS, NO_DECIMALS, THREE_DECIMALS].iter().any(|table| table.contains(&code.as_str()));
        match <[u8; 3]>::try_from(code.as_bytes()) {
            Ok(letters) if known => Ok(Self(letters)),
            _ => Err(UnknownCurrency(text.chars().take(16).collect())),
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = UnknownCurrency;

    fn try_from(text: String) -> Result<Self, UnknownCurrency> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A decimal number as text, never as a float: `"48000.00"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decimal(pub String);

text_scalar!(
    Decimal as "Decimal": "An exact decimal number as a string, such as `\"48000.00\"`. Never a float.",
    specified by "https://scalars.graphql.org/chillicream/decimal"
);

impl FromStr for Decimal {
    type Err = std::convert::Infallible;

    /// Takes any text: whether an amount can be used depends on its currency, and is said beside its field.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An exact amount in one currency, kept in minor units (cents for USD, yen for JPY, fils for KWD).
///
/// ```
/// use crosstie_domain::{Currency, Money};
///
/// let price = Money::parse("48000.00", Currency::USD).unwrap();
/// assert_eq!(price.minor, 4_800_000);
/// assert_eq!(price.to_string(), "48000.00 USD");
/// assert!(price.plus(Money::new(1, Currency::EUR)).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Minor units.
    pub minor: i64,
    /// The currency.
    pub currency: Currency,
}

/// Why an amount could not be read or added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not digits with at most one decimal point.
    #[error("not a decimal number")]
    NotDecimal,
    /// More decimals than the currency has; the hub never rounds silently.
    #[error("{currency} has {decimals} decimals")]
    TooPrecise {
        /// The currency.
        currency: Currency,
        /// How many decimals its minor unit has.
        decimals: u32,
    },
    /// Larger than 64 bits of minor units.
    #[error("amount out of range")]
    OutOfRange,
    /// Two currencies met in one sum.
    #[error("cannot add {0} and {1}")]
    MixedCurrencies(Currency, Currency),
}

impl Money {
    /// An amount in minor units.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Nothing, in a currency.
    pub const fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    /// Reads an amount in major units, `"-12.5"` or `"48000"`. Decimals beyond the currency's must be zeros.
    ///
    /// # Errors
    /// [`MoneyError::NotDecimal`], [`MoneyError::TooPrecise`], [`MoneyError::OutOfRange`].
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || digits.ends_with('.') {
            return Err(MoneyError::NotDecimal);
        }
        let decimals = currency.decimals();
        let width = usize::try_from(decimals).map_err(|_| MoneyError::OutOfRange)?;
        let significant = fraction.trim_end_matches('0');
        if significant.len() > width {
            return Err(MoneyError::TooPrecise { currency, decimals });
        }
        let minor: i64 = format!("{}{whole}{significant:0<width$}", if negative { "-" } else { "" })
            .parse()
            .map_err(|_| MoneyError::OutOfRange)?;
        Ok(Self { minor, currency })
    }

    /// The amount in major units with all decimals of the currency.
    pub fn decimal(self) -> String {
        let width = usize::try_from(self.currency.decimals()).unwrap_or(0);
        let sign = if self.minor < 0 { "-" } else { "" };
        let digits = format!("{:0>1$}", self.minor.unsigned_abs(), width + 1);
        let (whole, fraction) = digits.split_at(digits.len() - width);
        if width == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }

    /// The sum of two amounts of one currency.
    ///
    /// # Errors
    /// [`MoneyError::MixedCurrencies`], [`MoneyError::OutOfRange`].
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::MixedCurrencies(self.currency, other.currency));
        }
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::OutOfRange)?;
        Ok(Self { minor, ..self })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.decimal(), self.currency)
    }
}

/// An exact amount in one currency.
#[async_graphql::Object(name = "Money")]
impl Money {
    /// The amount in major units, with all decimals of the currency.
    async fn amount(&self) -> Decimal {
        Decimal(self.decimal())
    }

    /// The currency of the amount.
    async fn currency(&self) -> Currency {
        self.currency
    }
}

/// An exact amount in one currency.
#[derive(Debug, Clone, Serialize, async_graphql::InputObject)]
pub struct MoneyInput {
    /// The amount in major units, `"48000.00"`; not more decimals than the currency has.
    pub amount: Decimal,
    /// The currency of the amount.
    pub currency: Currency,
}

impl TryFrom<&MoneyInput> for Money {
    type Error = MoneyError;

    fn try_from(input: &MoneyInput) -> Result<Self, MoneyError> {
        Self::parse(&input.amount.0, input.currency)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn check(text: &str, code: &str, expected: Result<i64, MoneyError>) {
        let currency = code.parse().expect("a known currency");
        assert_eq!(Money::parse(text, currency).map(|money| money.minor), expected, "{text} {code}");
    }

    #[test]
    fn reads_amounts_at_the_exponent_of_their_currency() {
        check("48000.00", "USD", Ok(4_800_000));
        check("-0.5", "usd", Ok(-50));
        check("1.2300", "USD", Ok(123));
        check("12343", "JPY", Ok(12_343));
        check("1.234", "KWD", Ok(1_234));
        check("1.5", "JPY", Err(MoneyError::TooPrecise { currency: Currency::JPY, decimals: 0 }));
        check("1.005", "USD", Err(MoneyError::TooPrecise { currency: Currency::USD, decimals: 2 }));
        for text in ["", "-", ".5", "1.", "1e3", "1,000", " 1", "NaN", "0x1", "1.2.3"] {
            check(text, "USD", Err(MoneyError::NotDecimal));
        }
        check("99999999999999999999", "USD", Err(MoneyError::OutOfRange));
    }

    #[test]
    fn refuses_a_currency_that_is_not_in_use() {
        for text in ["", "US", "USDX", "ZZZ", "äöü"] {
            assert!(text.parse::<Currency>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_survives_its_text_form(minor in any::<i64>(), code in 0usize..3) {
            let currency: Currency = ["JPY", "USD", "KWD"][code].parse().expect("a known currency");
            let money = Money::new(minor, currency);
            prop_assert_eq!(Money::parse(&money.decimal(), currency), Ok(money));
        }
    }
}
