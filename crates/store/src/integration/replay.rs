//! Sending again what another system refused, once a person has put right what was wrong.

use sea_orm::FromQueryResult;

use super::EffectStatus;
use crate::{Reads, StoreError, Tx, codec};

#[derive(FromQueryResult)]
struct RecordRow {
    record_id: String,
}

impl Tx {
    /// Makes a refused effect due again, under its old key: whoever takes it asks first whether any of it happened.
    /// Returns the record that it is for; `None` when no refused effect has this key.
    ///
    /// # Errors
    /// As the database.
    pub async fn effect_again(&self, key: &str) -> Result<Option<String>, StoreError> {
        let sql = "UPDATE effects SET status = $1, next_attempt_at = $2, attempts = 0, error_code = NULL, \
                   error_message = NULL, finished_at = NULL WHERE effect_key = $3 AND status = $4";
        let values = vec![
            codec::text(&EffectStatus::Sent).into(),
            self.now().micros().into(),
            key.into(),
            codec::text(&EffectStatus::Rejected).into(),
        ];
        if self.connection().run(sql, values).await? == 0 {
            return Ok(None);
        }
        let sql = "SELECT record_id FROM effects WHERE effect_key = $1";
        let row: Option<RecordRow> = self.connection().one(sql, vec![key.into()]).await?;
        Ok(row.map(|row| row.record_id))
    }
}
