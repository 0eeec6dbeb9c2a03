//! What the host can know of a request while it is carried: for its log of exchanges.

use super::{HttpResponse, Instant, TransportError, clock};
use crate::Fault;

tokio::task_local! {
    static SENDING: Sending;
}

/// The call that a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sending {
    /// Which try of the call it is: 2 after the credential was renewed.
    pub attempt: i32,
    /// Whether sending it twice does what sending it once does.
    pub repeatable: bool,
    /// Whether the connector reads what the vendor says with 403.
    pub reads_forbidden: bool,
}

impl Sending {
    /// What is being carried here; requests that no connector asked for, such as for a token, count as repeatable.
    pub fn now() -> Self {
        SENDING.try_with(|sending| *sending).unwrap_or(Self { attempt: 1, repeatable: true, reads_forbidden: false })
    }

    pub(super) async fn scope<T>(self, carried: impl Future<Output = T>) -> T {
        SENDING.scope(self, carried).await
    }
}

/// What an answer means that says nothing of the request itself, and so is no connector's to read.
pub(super) fn refusal(response: &HttpResponse, sending: Sending, now: Option<Instant>, name: &str) -> Option<Fault> {
    let throttled = || Some(Fault::Throttled { retry_after_ms: clock::retry_after_ms(response, now) });
    match response.status {
        401 => Some(Fault::NeedsReauth),
        403 if sending.reads_forbidden => None,
        403 => Some(Fault::MissingScope { why: name.to_owned() }),
        404 | 410 => Some(Fault::Gone),
        429 => throttled(),
        503 if response.header("retry-after").is_some() => throttled(),
        // Neither done nor refused, as far as can be told.
        status @ (300..=399 | 408 | 425 | 500..) => {
            let why = format!("the vendor answered {status}");
            Some(if sending.repeatable { Fault::Transient { why } } else { Fault::Unknown { why } })
        }
        _ => None,
    }
}

/// The stable code of what went wrong in an exchange; `None` when nothing did. A refusal that only the connector can
/// read counts as `REJECTED`.
pub fn fault_code(answer: &Result<HttpResponse, TransportError>, sending: Sending) -> Option<&'static str> {
    match answer {
        Err(error) => Some(error.clone().into_fault(sending.repeatable).code()),
        Ok(response) => match refusal(response, sending, None, "") {
            Some(fault) => Some(fault.code()),
            None if response.status >= 400 => Some(Fault::Rejected { errors: vec![] }.code()),
            None => None,
        },
    }
}
