//! Answers that look otherwise than the vendor documents them.

use crosstie_sdk::{FakeVendor, Fault, HttpResponse, MappedRow, Observed};
use serde_json::{Value, json};

use crate::{
    Subject,
    bench::{fault_of, good},
    reading::{Scene, each_kind},
    report::{Checked, Recorder, ensure},
};

/// Rows of a page that holds all of them.
const LIMIT: u32 = 50;
/// A value that nothing is.
const ODD: &str = "an odd value of the conformance kit";

pub(crate) async fn check<V: FakeVendor + 'static>(subject: &Subject<V>, recorder: &mut Recorder) {
    recorder.record("shape.more_members", each_kind(subject, more_members).await);
    recorder.record("shape.one_odd_row", each_kind(subject, one_odd_row).await);
    recorder.record("shape.no_page", each_kind(subject, no_page).await);
}

/// Does something to the JSON of an answer; what is no JSON stays.
fn edited(mut answer: HttpResponse, edit: impl FnOnce(&mut Value)) -> HttpResponse {
    if let Ok(mut body) = serde_json::from_slice(&answer.body) {
        edit(&mut body);
        answer.body = body.to_string().into_bytes();
    }
    answer
}

fn with_more_members(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(with_more_members),
        // A list by id has members of its own, where another one would be a record.
        Value::Object(members) if !members.is_empty() => {
            members.values_mut().for_each(with_more_members);
            members.insert("added_by_the_vendor".to_owned(), json!({ "since": [1, null, "today"] }));
        }
        _ => {}
    }
}

fn said(rows: &[Observed]) -> Vec<(String, Value)> {
    let said = |seen: &Observed| (seen.key.remote_id.clone(), serde_json::to_value(&seen.claim).unwrap_or_default());
    let mut said: Vec<_> = rows.iter().map(said).collect();
    said.sort_by(|one, other| one.0.cmp(&other.0));
    said
}

async fn more_members<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    scene.create_many(4);
    scene.bench.pass_ms(1_000);
    let plain = said(&scene.bench.rows(scene.reader, scene.bench.all(LIMIT)).await?);
    scene.bench.meddle(|_, answer| Ok(edited(answer, with_more_members)));
    let more = said(&scene.bench.rows(scene.reader, scene.bench.all(LIMIT)).await?);
    ensure(plain == more, || format!("with members that it does not know {plain:?} is {more:?}"))?;
    Ok(None)
}

/// The object that is the row of this id: the innermost with a member that is the id.
fn row_of<'a>(value: &'a mut Value, id: &str) -> Option<&'a mut serde_json::Map<String, Value>> {
    let is_id = |value: &Value| match value {
        Value::String(text) => text == id,
        Value::Number(number) => number.to_string() == id,
        _ => false,
    };
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| row_of(item, id)),
        Value::Object(members) => {
            if members.iter().any(|(name, value)| name.eq_ignore_ascii_case("id") && is_id(value)) {
                return Some(members);
            }
            members.values_mut().find_map(|member| row_of(member, id))
        }
        _ => None,
    }
}

/// The members of a row, and of the objects in it, by the names that lead to them; not those that are its id.
fn members(row: &serde_json::Map<String, Value>, id: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (name, value) in row {
        let is_id = value.as_str() == Some(id) || value.as_i64().is_some_and(|number| number.to_string() == id);
        if is_id {
            continue;
        }
        found.push(vec![name.clone()]);
        if let Value::Object(inner) = value {
            let deeper = members(inner, id).into_iter();
            found.extend(deeper.map(|path| [vec![name.clone()], path].concat()));
        }
    }
    found
}

fn retype(row: &mut serde_json::Map<String, Value>, path: &[String]) {
    let Some((first, rest)) = path.split_first() else { return };
    match row.get_mut(first) {
        Some(Value::Object(inner)) if !rest.is_empty() => retype(inner, rest),
        Some(value) => *value = json!([{ "odd": ODD }]),
        None => {}
    }
}

async fn one_odd_row<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    let made = scene.create_many(4);
    scene.bench.pass_ms(1_000);
    let odd = made[1].clone();
    let plain = said(&scene.bench.rows(scene.reader, scene.bench.all(LIMIT)).await?);
    let others: Vec<_> = plain.into_iter().filter(|(id, _)| *id != odd).collect();
    let (found, id) = (std::sync::Arc::new(std::sync::Mutex::new(Vec::new())), odd.clone());
    let noted = std::sync::Arc::clone(&found);
    scene.bench.meddle(move |_, answer| {
        Ok(edited(answer, |body| {
            if let Some(row) = row_of(body, &id) {
                *noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = members(row, &id);
            }
        }))
    });
    scene.bench.rows(scene.reader, scene.bench.all(LIMIT)).await?;
    let paths = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    ensure(!paths.is_empty(), || format!("no answer holds a row with the id {odd}"))?;
    for path in paths {
        let (id, at) = (odd.clone(), path.clone());
        scene.bench.meddle(move |_, answer| {
            Ok(edited(answer, |body| {
                if let Some(row) = row_of(body, &id) {
                    retype(row, &at);
                }
            }))
        });
        let path = path.join(".");
        let pages = scene.bench.read(scene.reader, scene.bench.all(LIMIT)).await;
        let pages = pages.map_err(|seen| format!("{path} of one row is of another type: {seen}"))?;
        let rows: Vec<&MappedRow> = pages.iter().flat_map(|(_, page)| &page.rows).collect();
        let rest: Vec<Observed> =
            good(rows.iter().copied()).into_iter().filter(|seen| seen.key.remote_id != odd).collect();
        ensure(said(&rest) == others, || {
            format!("{path} of {odd} is of another type, and of the others came {rest:?}")
        })?;
        let quoted = rows.iter().find_map(|row| match row {
            MappedRow::Good(seen) => {
                let claim = serde_json::to_string(&seen.claim).unwrap_or_default();
                claim.contains(ODD).then_some(claim)
            }
            MappedRow::Bad { .. } | MappedRow::Gone { .. } => None,
        });
        ensure(quoted.is_none(), || format!("{path} is of another type and is believed: {quoted:?}"))?;
        let there = rows.iter().any(|row| row.remote_id() == Some(&odd))
            || rows.iter().any(|row| matches!(row, MappedRow::Bad { remote_id: None, .. }));
        ensure(there, || format!("{path} of {odd} is of another type, and the row is lost without a trace"))?;
    }
    Ok(None)
}

async fn no_page<V: FakeVendor + 'static>(scene: Scene<'_, V>) -> Checked {
    let made = scene.create_many(2);
    scene.bench.pass_ms(1_000);
    for body in ["", "null", "[", "\"text\"", "42", "<html>Sign in</html>", "{\"rows\": 7}"] {
        scene.bench.meddle(move |_, answer| Ok(HttpResponse { body: body.as_bytes().to_vec(), ..answer }));
        let page = scene.reader.read_page(&scene.bench.net, &scene.bench.all(LIMIT)).await;
        let fault = page.err().ok_or_else(|| format!("{body:?} counts as a page"))?;
        let is_shape = matches!(fault, Fault::Shape { .. } | Fault::Transient { .. });
        ensure(is_shape, || fault_of(&format!("{body:?} in the place of a page"), &fault))?;
        let row = scene.reader.read_one(&scene.bench.net, &made[0]).await;
        ensure(!matches!(row, Ok(MappedRow::Good(_))), || format!("{body:?} counts as the record {}", made[0]))?;
        ensure(row != Err(Fault::Gone), || format!("{body:?} counts as proof that {} is gone", made[0]))?;
    }
    Ok(None)
}
