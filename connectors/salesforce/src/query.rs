//! Queries as they are written and sent.

use crosstie_sdk::{Call, Connector, Fault, Net, domain::Instant, domain::integration::Entity};

use crate::{API, Salesforce, SalesforceSettings, refusal, wire::Found};

/// What is read of one kind of object.
pub(crate) struct Object {
    /// What it becomes.
    pub(crate) entity: Entity,
    /// Its name at Salesforce.
    pub(crate) name: &'static str,
    /// The fields that are always asked for.
    pub(crate) fields: &'static [&'static str],
}

/// Which rows a query looks among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those that stand.
    Standing,
    /// Those in the recycle bin, too.
    Deleted,
}

impl Object {
    /// The fields that are asked for now, each once: Salesforce refuses a field that is named twice, in whatever case.
    pub(crate) fn asked(&self, net: &Net) -> Result<Vec<String>, Fault> {
        let settings = net.settings();
        let custom = Salesforce.custom_fields(&settings)?;
        let settings: SalesforceSettings = settings.read()?;
        let mut always = self.fields.to_vec();
        match self.entity {
            Entity::Account => always.extend(settings.billing_email.as_ref().map(|field| field.0.as_str())),
            // Only an org with several currencies has the field.
            _ => always.extend(settings.currency.is_none().then_some("CurrencyIsoCode")),
        }
        let mut asked: Vec<String> = Vec::new();
        for field in custom.asked(self.entity, &always) {
            if !asked.iter().any(|name| name.eq_ignore_ascii_case(&field)) {
                asked.push(field);
            }
        }
        Ok(asked)
    }

    /// The query for one record. The id is one: see [`crate::wire::is_id`].
    pub(crate) fn by_id(&self, net: &Net, id: &str) -> Result<String, Fault> {
        Ok(format!("SELECT {} FROM {} WHERE Id = '{id}' LIMIT 1", self.asked(net)?.join(", "), self.name))
    }
}

/// Sends a query. What it finds, and how many calls of how many are used, where Salesforce says so.
///
/// That there is no such query says nothing of any record: the address is wrong, or the version of the API.
pub(crate) async fn run(net: &Net, which: Which, soql: &str) -> Result<(Found, Option<(u64, u64)>), Fault> {
    let resource = match which {
        Which::Standing => "query",
        Which::Deleted => "queryAll",
    };
    let path = format!("{API}/{resource}");
    let absent = |fault| match fault {
        Fault::Gone => Fault::rejected("base_url", format!("there is no {path} at this address")),
        other => other,
    };
    let call = Call::get(path.as_str()).query("q", soql).reads_forbidden();
    let answer = net.send(call).await.map_err(absent)?;
    let found = answer.json_or(refusal::explain).map_err(absent)?;
    Ok((found, answer.header("sforce-limit-info").and_then(usage)))
}

/// `api-usage=18/15000`, perhaps among others.
fn usage(header: &str) -> Option<(u64, u64)> {
    let usage = header.split(',').find_map(|part| part.trim().strip_prefix("api-usage="))?;
    let (used, most) = usage.split_once('/')?;
    let most = most.split_once('(').map_or(most, |(most, _)| most);
    Some((used.trim().parse().ok()?, most.trim().parse().ok()?))
}

/// A moment as a query holds it.
pub(crate) fn moment(at: Instant) -> String {
    at.timestamp().strftime("%Y-%m-%dT%H:%M:%S%.fZ").to_string()
}

/// The beginning of the second that a moment is in: change times are told in whole seconds.
pub(crate) fn whole_second(at: Instant) -> Instant {
    Instant::from_micros(at.micros().div_euclid(1_000_000) * 1_000_000).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_that_are_used_are_read_as_salesforce_tells_them() {
        assert_eq!(usage("api-usage=18/15000"), Some((18, 15_000)));
        assert_eq!(usage("api-usage=18/15000, per-app-api-usage=17/250(appName=hub)"), Some((18, 15_000)));
        assert_eq!(usage("per-app-api-usage=17/250(appName=hub)"), None);
        assert_eq!(usage("api-usage=many"), None);
    }

    #[test]
    fn a_moment_is_written_to_the_second_unless_it_is_finer() {
        let at = |micros| Instant::from_micros(micros).expect("a moment");
        assert_eq!(moment(at(1_790_000_000_000_000)), "2026-09-21T14:13:20Z");
        assert_eq!(moment(at(1_790_000_000_250_000)), "2026-09-21T14:13:20.25Z");
        assert_eq!(whole_second(at(1_790_000_000_250_000)), at(1_790_000_000_000_000));
        assert_eq!(whole_second(at(-1)), at(-1_000_000));
    }
}
