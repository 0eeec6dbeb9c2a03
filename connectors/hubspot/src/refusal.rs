//! What HubSpot's refusals mean to the host.

use crosstie_sdk::{Answer, Fault, FieldError};

use crate::wire::ErrorBody;

/// Explains an answer that is no success and that the host has not named already.
pub(crate) fn explain(answer: &Answer) -> Fault {
    // 423: locked for a moment; 477: the account is being moved to another data center.
    if matches!(answer.status(), 423 | 477) {
        return Fault::Transient { why: format!("the vendor answered {}", answer.status()) };
    }
    rejected(answer.json().unwrap_or_default(), answer.status())
}

/// A refusal that HubSpot explains.
fn rejected(body: ErrorBody, status: u16) -> Fault {
    let category = body.category.unwrap_or_else(|| format!("HTTP {status}"));
    let details = body.errors.into_iter().map(|detail| {
        let property = detail.context.and_then(|context| context.property_name.into_iter().next());
        FieldError {
            field: property.or(detail.field).unwrap_or_default(),
            message: detail.message.unwrap_or_else(|| category.clone()),
        }
    });
    let mut errors: Vec<FieldError> = details.collect();
    if errors.is_empty() {
        let message = body.message.map_or_else(|| category.clone(), |message| format!("{category}: {message}"));
        errors.push(FieldError { field: String::new(), message });
    }
    Fault::Rejected { errors }
}

/// The first error of a batch that was done in part, unless it only says that a record has no associations.
pub(crate) fn of_batch(errors: Vec<ErrorBody>) -> Result<(), Fault> {
    let no_associations = |error: &ErrorBody| {
        let sub_category = error.sub_category.as_ref().and_then(|value| value.as_str()).unwrap_or_default();
        sub_category.contains("NO_ASSOCIATIONS_FOUND")
    };
    match errors.into_iter().find(|error| !no_associations(error)) {
        Some(error) => Err(rejected(error, 207)),
        None => Ok(()),
    }
}
