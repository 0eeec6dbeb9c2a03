//! What Salesforce's refusals mean to the host.

use crosstie_sdk::{Answer, Fault, FieldError};

use crate::wire::Told;

/// Explains an answer that is no success and that the host has not named already. Of several errors the first one
/// decides; a refusal names the fields of all.
pub(crate) fn explain(answer: &Answer) -> Fault {
    let told: Vec<Told> = answer.json().unwrap_or_default();
    let code = told.first().and_then(|told| told.error_code.as_deref()).unwrap_or_default();
    match code {
        // With status 403, although no permission is missing. It passes as the calls of the last 24 hours do.
        "REQUEST_LIMIT_EXCEEDED" => Fault::Throttled { retry_after_ms: None },
        "INVALID_SESSION_ID" => Fault::NeedsReauth,
        "UNABLE_TO_LOCK_ROW" | "QUERY_TIMEOUT" | "SERVER_UNAVAILABLE" => Fault::Transient { why: code.to_owned() },
        "ENTITY_IS_DELETED" | "NOT_FOUND" => Fault::Gone,
        // An object that the user may not see does not exist for them.
        "API_CURRENTLY_DISABLED"
        | "API_DISABLED_FOR_ORG"
        | "INSUFFICIENT_ACCESS"
        | "INSUFFICIENT_ACCESS_OR_READONLY"
        | "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"
        | "INVALID_TYPE" => Fault::MissingScope { why: words(&told, answer.status()) },
        _ if answer.status() == 403 => Fault::MissingScope { why: words(&told, answer.status()) },
        _ => rejected(&told, answer.status()),
    }
}

fn rejected(told: &[Told], status: u16) -> Fault {
    let mut errors: Vec<FieldError> = told.iter().flat_map(of_one).collect();
    if errors.is_empty() {
        errors.push(FieldError { field: String::new(), message: format!("HTTP {status}") });
    }
    Fault::Rejected { errors }
}

/// An error, once for each field that it is about.
fn of_one(told: &Told) -> Vec<FieldError> {
    let message = worded(told);
    match (unknown_column(told), told.fields.as_slice()) {
        (Some("CurrencyIsoCode"), _) => {
            let message = format!("{message}; an org with one currency needs the setting currency");
            vec![FieldError { field: "CurrencyIsoCode".to_owned(), message }]
        }
        (Some(field), []) => vec![FieldError { field: field.to_owned(), message }],
        (None, []) => vec![FieldError { field: String::new(), message }],
        (_, fields) => {
            let each = |field: &String| FieldError { field: field.clone(), message: message.clone() };
            fields.iter().map(each).collect()
        }
    }
}

fn words(told: &[Told], status: u16) -> String {
    told.first().map_or_else(|| format!("HTTP {status}"), worded)
}

/// Code and message. In front of what is wrong with a query stand the query and a mark below it, which are left out.
fn worded(told: &Told) -> String {
    let code = told.error_code.as_deref().unwrap_or("an error without a code");
    let Some(message) = told.message.as_deref() else { return code.to_owned() };
    let behind_mark = message.split_once("ERROR at Row:").and_then(|(_, rest)| rest.split_once('\n'));
    let message = behind_mark.map_or(message, |(_, rest)| rest).trim();
    if message.is_empty() { code.to_owned() } else { format!("{code}: {message}") }
}

/// The field of `No such column 'X' on entity 'Y'`: of a query no list names it.
fn unknown_column(told: &Told) -> Option<&str> {
    let (_, rest) = told.message.as_deref()?.split_once("No such column '")?;
    rest.split_once('\'').map(|(field, _)| field)
}
