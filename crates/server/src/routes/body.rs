//! Reads bodies, of bounded length and within bounded time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::StreamExt;

/// The largest body that is taken, in bytes.
pub(super) const BODY_BYTES: usize = 1024 * 1024;
/// How much of a larger one is read all the same, so that a sender that writes to the end before it reads hears why it
/// is refused.
const DROPPED_BYTES: usize = 8 * BODY_BYTES;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// More than [`BODY_BYTES`].
    TooLarge,
    /// It did not arrive within ten seconds.
    TooSlow,
    /// It ended early.
    Broken,
}

/// Reads a body.
pub(super) async fn read(body: Body) -> Result<Vec<u8>, BodyFault> {
    tokio::time::timeout(BODY_TIMEOUT, read_to_end(body)).await.map_err(|_| BodyFault::TooSlow)?
}

async fn read_to_end(body: Body) -> Result<Vec<u8>, BodyFault> {
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut length) = (Vec::new(), 0_usize);
    while let Some(chunk) = chunks.next().await {
        let chunk: Bytes = chunk.map_err(|_| BodyFault::Broken)?;
        length = length.saturating_add(chunk.len());
        if length > DROPPED_BYTES {
            break;
        }
        if length <= BODY_BYTES {
            bytes.extend_from_slice(&chunk);
        }
    }
    if length > BODY_BYTES { Err(BodyFault::TooLarge) } else { Ok(bytes) }
}
