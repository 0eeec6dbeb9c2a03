//! Filters of lists: typed inputs on one side, conditions of the store on the other.

use async_graphql::{ID, InputObject, InputType, TypeName};
use crosstie_domain::{CivilDate, Instant};
use crosstie_store::{Condition, Operand, Operator};
use serde::Serialize;
use serde_json::Value as Json;

use crate::{error::ApiError, listing::bad_input};

/// How deep `and`, `or` and `not` go into each other.
const DEEPEST_FILTER: usize = 3;
/// Conditions in one filter, at most.
const MOST_CONDITIONS: usize = 50;
/// Values of one `in` or `notIn`, at most.
const MOST_VALUES: usize = 100;
/// The longest text that `contains` takes, in characters.
const LONGEST_PART: usize = 200;

/// A filter of a list.
pub(crate) trait Filter: InputType + Sized {
    /// The columns of the store.
    type Column;
    /// Its own conditions, all of which must hold.
    fn own(&self, conditions: &mut Vec<Condition<Self::Column>>) -> Result<(), ApiError>;
    /// Its `and`, `or` and `not`.
    fn joined(&self) -> Joined<'_, Self>;

    /// The whole of it, for the store.
    fn condition(&self) -> Result<Condition<Self::Column>, ApiError> {
        condition(self, 0, &mut { MOST_CONDITIONS })
    }
}

/// The filters inside a filter.
pub(crate) struct Joined<'a, F> {
    /// All of these must hold.
    pub(crate) and: Option<&'a Vec<F>>,
    /// One of these must hold.
    pub(crate) or: Option<&'a Vec<F>>,
    /// This must not hold.
    pub(crate) not: Option<&'a F>,
}

fn condition<F: Filter>(filter: &F, depth: usize, budget: &mut usize) -> Result<Condition<F::Column>, ApiError> {
    if depth > DEEPEST_FILTER {
        return Err(bad_input("filter", format!("A filter goes at most {DEEPEST_FILTER} levels deep.")));
    }
    let mut all = Vec::new();
    filter.own(&mut all)?;
    let spent = all.len().max(1);
    *budget = budget
        .checked_sub(spent)
        .ok_or_else(|| bad_input("filter", format!("A filter has at most {MOST_CONDITIONS} conditions.")))?;
    let Joined { and, or, not } = filter.joined();
    for part in and.into_iter().flatten() {
        all.push(condition(part, depth + 1, budget)?);
    }
    if let Some(parts) = or {
        let parts: Result<Vec<_>, _> = parts.iter().map(|part| condition(part, depth + 1, budget)).collect();
        all.push(Condition::Any(parts?));
    }
    if let Some(part) = not {
        all.push(Condition::Not(Box::new(condition(part, depth + 1, budget)?)));
    }
    Ok(Condition::All(all))
}

/// Identifiers to compare with.
#[derive(Debug, Clone, InputObject)]
pub(crate) struct IdFilter {
    /// Is this one.
    eq: Option<ID>,
    /// Is one of these, at most 100.
    #[graphql(name = "in")]
    one_of: Option<Vec<ID>>,
}

/// Values to compare with.
#[derive(Debug, Clone, InputObject)]
#[graphql(name_type)]
pub(crate) struct ChoiceFilter<E: Choice> {
    /// Is this one.
    eq: Option<E>,
    /// Is one of these, at most 100.
    #[graphql(name = "in")]
    one_of: Option<Vec<E>>,
    /// Is none of these, at most 100; also holds where there is no value.
    not_in: Option<Vec<E>>,
}

/// An enum that lists are filtered by.
pub(crate) trait Choice: InputType + Serialize {
    /// The name of its filter in the schema.
    const FILTER: &'static str;
}

impl<E: Choice> TypeName for ChoiceFilter<E> {
    fn type_name() -> std::borrow::Cow<'static, str> {
        E::FILTER.into()
    }
}

/// Text to compare with.
#[derive(Debug, Clone, InputObject)]
pub(crate) struct TextFilter {
    /// Is exactly this.
    eq: Option<String>,
    /// Holds this, in upper or lower case; at most 200 characters.
    contains: Option<String>,
}

/// Days to compare with.
#[derive(Debug, Clone, InputObject)]
pub(crate) struct DateFilter {
    /// On this day or later.
    gte: Option<CivilDate>,
    /// Before this day.
    lt: Option<CivilDate>,
}

/// Moments to compare with.
#[derive(Debug, Clone, InputObject)]
pub(crate) struct DateTimeFilter {
    /// At this moment or later.
    gte: Option<Instant>,
    /// Before this moment.
    lt: Option<Instant>,
}

/// What one column is compared with.
pub(crate) trait Comparison {
    /// Adds its conditions on the column.
    fn compare<C: Copy>(&self, column: C, conditions: &mut Vec<Condition<C>>) -> Result<(), ApiError>;
}

impl<T: Comparison> Comparison for Option<T> {
    fn compare<C: Copy>(&self, column: C, conditions: &mut Vec<Condition<C>>) -> Result<(), ApiError> {
        self.as_ref().map_or(Ok(()), |comparison| comparison.compare(column, conditions))
    }
}

impl Comparison for IdFilter {
    fn compare<C: Copy>(&self, column: C, conditions: &mut Vec<Condition<C>>) -> Result<(), ApiError> {
        if let Some(id) = &self.eq {
            conditions.push(equal(column, id.0.clone())?);
        }
        any_of(column, self.one_of.as_ref().map(|ids| ids.iter().map(|id| id.0.clone()).collect()), conditions)
    }
}

impl<E: Choice> Comparison for ChoiceFilter<E> {
    fn compare<C: Copy>(&self, column: C, conditions: &mut Vec<Condition<C>>) -> Result<(), ApiError> {
        let texts = |choices: &Option<Vec<E>>| choices.as_ref().map(|choices| choices.iter().map(written).collect());
        if let Some(choice) = &self.eq {
            conditions.push(equal(column, written(choice))?);
        }
        any_of(column, texts(&self.one_of), conditions)?;
        let mut none_of = Vec::new();
        any_of(column, texts(&self.not_in), &mut none_of)?;
        conditions.extend(none_of.into_iter().map(|condition| Condition::Not(Box::new(condition))));
        Ok(())
    }
}

impl Comparison for TextFilter {
    fn compare<C: Copy>(&self, column: C, conditions: &mut Vec<Condition<C>>) -> Result<(), ApiError> {
        if let Some(text) = &self.eq {
            conditions.push(equal(column, text.clone())?);
        }
        if let Some(text) = &self.contains {
            if text.chars().count() > LONGEST_PART {
                return Err(bad_input("filter", format!("`contains` takes at most {LONGEST_PART} characters.")));
            }
            conditions.push(Condition::Is(column, Operator::Contains, text_operand(text.clone())?));
        }
        Ok(())
    }
}

impl Comparison for DateFilter {
    fn compare<C: Copy>(&self, column: C, conditions: &mut Vec<Condition<C>>) -> Result<(), ApiError> {
        let days = |date: CivilDate| i64::from(date.days());
        between(column, self.gte.map(days), self.lt.map(days), conditions);
        Ok(())
    }
}

impl Comparison for DateTimeFilter {
    fn compare<C: Copy>(&self, column: C, conditions: &mut Vec<Condition<C>>) -> Result<(), ApiError> {
        between(column, self.gte.map(Instant::micros), self.lt.map(Instant::micros), conditions);
        Ok(())
    }
}

fn between<C: Copy>(column: C, from: Option<i64>, until: Option<i64>, conditions: &mut Vec<Condition<C>>) {
    conditions.extend(from.map(|from| Condition::Is(column, Operator::Gte, Operand::Number(from))));
    conditions.extend(until.map(|until| Condition::Is(column, Operator::Lt, Operand::Number(until))));
}

fn any_of<C: Copy>(column: C, texts: Option<Vec<String>>, conditions: &mut Vec<Condition<C>>) -> Result<(), ApiError> {
    let Some(texts) = texts else { return Ok(()) };
    if texts.len() > MOST_VALUES {
        return Err(bad_input("filter", format!("`in` and `notIn` take at most {MOST_VALUES} values.")));
    }
    let parts: Result<Vec<_>, _> = texts.into_iter().map(|text| equal(column, text)).collect();
    conditions.push(Condition::Any(parts?));
    Ok(())
}

fn equal<C>(column: C, text: String) -> Result<Condition<C>, ApiError> {
    Ok(Condition::Is(column, Operator::Eq, text_operand(text)?))
}

/// PostgreSQL keeps no NUL in text and refuses a statement that holds one.
fn text_operand(text: String) -> Result<Operand, ApiError> {
    if text.contains('\0') {
        return Err(bad_input("filter", "Text holds no NUL character."));
    }
    Ok(Operand::Text(text))
}

/// The written form of an enum, as it is kept in the database.
fn written<E: Serialize>(choice: &E) -> String {
    match serde_json::to_value(choice) {
        Ok(Json::String(text)) => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, InputObject)]
    struct Named {
        name: Option<TextFilter>,
        and: Option<Vec<Named>>,
        or: Option<Vec<Named>>,
        not: Option<Box<Named>>,
    }

    impl Filter for Named {
        type Column = ();

        fn own(&self, conditions: &mut Vec<Condition<()>>) -> Result<(), ApiError> {
            self.name.compare((), conditions)
        }

        fn joined(&self) -> Joined<'_, Self> {
            Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
        }
    }

    fn named(text: &str) -> Named {
        Named { name: Some(TextFilter { eq: Some(text.to_owned()), contains: None }), ..Named::default() }
    }

    fn negated(levels: usize) -> Named {
        (0..levels).fold(named("a"), |inner, _| Named { not: Some(Box::new(inner)), ..Named::default() })
    }

    #[test]
    fn a_part_of_a_text_is_looked_for_up_to_a_length() {
        let part = |length: usize| {
            let name = TextFilter { eq: None, contains: Some("ü".repeat(length)) };
            Named { name: Some(name), ..Named::default() }.condition().is_ok()
        };
        assert!(part(LONGEST_PART) && !part(LONGEST_PART + 1));
    }

    #[test]
    fn filters_are_bounded_in_depth_and_number() {
        assert!(negated(3).condition().is_ok());
        assert!(negated(4).condition().is_err());
        let any = |count: usize| Named { or: Some((0..count).map(|_| named("a")).collect()), ..Named::default() };
        assert!(any(49).condition().is_ok());
        assert!(any(50).condition().is_err());
    }

    #[test]
    fn text_with_nul_is_refused_before_it_reaches_the_database() {
        assert!(named("a\0").condition().is_err());
    }
}
