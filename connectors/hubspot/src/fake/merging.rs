//! Merging two objects into one.

use crosstie_sdk::{HttpRequest, HttpResponse, domain::Instant};
use serde_json::json;

use super::{HubspotFake, Kind, Outcome, body_of, invalid, not_found, whole_ms};
use crate::wire::id_text;

impl HubspotFake {
    /// Ends one object in another, which takes its associations over. From then on its id answers with the other.
    pub(super) fn merge(&mut self, kind: Kind, request: &HttpRequest, now: Instant) -> Outcome {
        let body = body_of(request)?;
        let id_of = |name: &str| body.get(name).and_then(id_text).unwrap_or_default();
        let (primary, _) = self.find(kind, &id_of("primaryObjectId"))?;
        let (ended, _) = self.find(kind, &id_of("objectIdToMerge"))?;
        if primary == ended {
            return Err(invalid("an object cannot be merged into itself"));
        }
        let now = whole_ms(now);
        for deal in self.deals.values_mut().filter(|_| kind == Kind::Company) {
            if let Some(types) = deal.companies.remove(&ended) {
                deal.companies.insert(primary, types);
            }
        }
        if let Some(object) = self.objects_mut(kind).get_mut(&ended) {
            object.archived = true;
        }
        self.merged.insert(ended, primary);
        let object = self.objects_mut(kind).get_mut(&primary).ok_or_else(|| not_found("Object not found."))?;
        object.touch(now);
        let row = object.row(primary, &object.names());
        let mut event = self.event(kind, "merge", primary, now);
        event["primaryObjectId"] = json!(primary);
        event["mergedObjectIds"] = json!([ended]);
        self.deliver(&[event], now);
        Ok(HttpResponse::json(200, &row))
    }
}
