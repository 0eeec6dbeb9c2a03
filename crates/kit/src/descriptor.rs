//! What is declared is there, and the other way round.

use std::collections::BTreeSet;

use crosstie_sdk::{
    FakeVendor, Settings,
    domain::integration::{Entity, IntentKind},
};
use serde_json::{Value, json};

use crate::{
    Subject,
    report::{Checked, Recorder, ensure},
};

/// A setting that nobody has.
const NO_SUCH_SETTING: &str = "no_such_setting";

#[expect(clippy::unused_async, reason = "as the other groups")]
pub(crate) async fn check<V: FakeVendor + 'static>(subject: &Subject<V>, recorder: &mut Recorder) {
    recorder.record("descriptor.identity", identity(subject));
    recorder.record("descriptor.reads", reads(subject));
    recorder.record("descriptor.writes", writes(subject));
    recorder.record("descriptor.settings", settings(subject));
}

fn identity<V>(subject: &Subject<V>) -> Checked {
    let declared = subject.connector.descriptor();
    let is_name = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
    };
    let is_version = |text: &str| {
        let parts: Vec<&str> = text.split('.').collect();
        parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())
    };
    ensure(is_name(declared.id), || format!("the id {:?} is no name of small letters", declared.id))?;
    ensure(!declared.name.trim().is_empty(), || "it has no name for people".to_owned())?;
    ensure(is_version(declared.version), || format!("the version {:?} is not of three numbers", declared.version))?;
    ensure(!declared.arms.is_empty(), || "it says not what the vendor's system is for".to_owned())?;
    ensure(!declared.auth.is_empty(), || "no way to sign in".to_owned())?;
    ensure(!declared.budgets.is_empty(), || "no budget".to_owned())?;
    let mut buckets = BTreeSet::new();
    for budget in declared.budgets {
        ensure(buckets.insert(budget.bucket), || format!("two budgets are called {:?}", budget.bucket))?;
        let is_budget = budget.per_second > 0 && budget.burst > 0;
        ensure(is_budget, || format!("nothing can be called within the budget {:?}", budget.bucket))?;
    }
    Ok(None)
}

fn reads<V>(subject: &Subject<V>) -> Checked {
    let declared: Vec<Entity> = subject.connector.descriptor().reads.iter().map(|read| read.entity).collect();
    let offered: Vec<Entity> = subject.connector.readers().iter().map(|reader| reader.entity()).collect();
    let once = |kinds: &[Entity]| kinds.iter().copied().collect::<BTreeSet<_>>();
    ensure(once(&declared).len() == declared.len(), || format!("declared twice: {declared:?}"))?;
    ensure(once(&offered).len() == offered.len(), || format!("two readers of one kind: {offered:?}"))?;
    ensure(once(&declared) == once(&offered), || {
        format!("declared {declared:?}, but there are readers of {offered:?}")
    })?;
    let shown: BTreeSet<Entity> = subject.kinds.iter().map(|kind| kind.entity).collect();
    ensure(shown == once(&declared), || format!("the kit is shown {shown:?} of {declared:?}"))?;
    let unread = subject.connector.descriptor().reads.iter().find(|read| read.poll_seconds == 0);
    ensure(unread.is_none(), || "a kind is read all the time (poll_seconds 0)".to_owned())?;
    if declared.is_empty() { Ok(Some("it reads nothing")) } else { Ok(None) }
}

fn writes<V>(subject: &Subject<V>) -> Checked {
    let declared = subject.connector.descriptor();
    let has_writer = subject.connector.writer().is_some();
    ensure(has_writer != declared.writes.is_empty(), || {
        format!("{} write(s) declared, and a writer: {has_writer}", declared.writes.len())
    })?;
    for write in declared.writes {
        let is_update = write.intent == IntentKind::UpdateRecord;
        let kind = write.entity.as_str();
        ensure(is_update != write.fields.is_empty(), || format!("fields of {kind} are named for updates alone"))?;
        let is_read = declared.reads.iter().any(|read| read.entity == write.entity);
        ensure(is_read || !is_update, || format!("{kind} is set, but never read"))?;
    }
    if has_writer { Ok(None) } else { Ok(Some("it writes nothing")) }
}

fn settings<V>(subject: &Subject<V>) -> Checked {
    let connector = subject.connector;
    connector
        .check_settings(&Settings::new(subject.settings.clone()))
        .map_err(|error| format!("its own settings are refused: {error}"))?;
    let mut other = match subject.settings.clone() {
        Value::Object(members) => Value::Object(members),
        _ => json!({}),
    };
    other[NO_SUCH_SETTING] = json!(true);
    let Err(error) = connector.check_settings(&Settings::new(other)) else {
        return Err("a setting that it does not know is taken in silence".to_owned());
    };
    ensure(error.to_string().contains(NO_SUCH_SETTING), || format!("a wrong setting is not named: {error}"))?;
    let schema = connector.settings_schema();
    ensure(schema["type"] == "object", || format!("the schema of its settings is none of an object: {schema}"))?;
    Ok(None)
}
