//! Fields of the customer's own: which there are, and what records hold.

use std::collections::BTreeMap;

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use crosstie_domain::{
    CivilDate, Instant,
    access::{Permission, Sensitivity},
    custom::{CustomFieldDefinition, CustomFieldKind, CustomValue, CustomValues},
    ids::ConnectionId,
    integration::Entity,
    money::Decimal,
};
use crosstie_store::integration::connections_by_ids;

use crate::{
    access::{access, app, requires, sensitivity},
    edge::{Item, keyed, level},
    error::ApiError,
    integration::ConnectedSystem,
    listing::Node as _,
};

/// Names in one argument, at most: as many as two connections can be told of.
const MOST_NAMES: usize = 100;

/// A field of the customer's own that a record has a value for. Of the values the one of its kind is there: a CHOICE is
/// a text.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct CustomField {
    /// Its name, as `customFieldDefinitions` lists it.
    name: String,
    /// What people call it; the name where no connection says.
    label: String,
    /// What kind of value it holds.
    kind: CustomFieldKind,
    /// Of a TEXT or a CHOICE: the text. What a person had erased is a mark.
    text_value: Option<String>,
    /// Of a NUMBER: the number, exact.
    number_value: Option<Decimal>,
    /// Of a BOOLEAN: whether it is so.
    boolean_value: Option<bool>,
    /// Of a DATE: the day.
    date_value: Option<CivilDate>,
    /// Of an INSTANT: the moment.
    instant_value: Option<Instant>,
}

impl CustomField {
    fn of(labels: &BTreeMap<String, String>, (name, value): (&String, &CustomValue)) -> Self {
        let mut field = Self {
            name: name.clone(),
            label: labels.get(name).unwrap_or(name).clone(),
            kind: value.kind(),
            text_value: None,
            number_value: None,
            boolean_value: None,
            date_value: None,
            instant_value: None,
        };
        match value {
            CustomValue::Text(text) | CustomValue::Choice(text) => field.text_value = Some(text.clone()),
            CustomValue::Number(number) => field.number_value = Some(number.decimal()),
            CustomValue::Boolean(truth) => field.boolean_value = Some(*truth),
            CustomValue::Date(day) => field.date_value = Some(*day),
            CustomValue::Instant(at) => field.instant_value = Some(*at),
        }
        field
    }
}

/// The custom fields of a record that have a value, by their names. They stand in its row: nothing more is read.
///
/// # Errors
/// `FORBIDDEN`; `BAD_USER_INPUT` for more than 100 names.
pub(crate) fn custom_fields(
    ctx: &Context<'_>,
    (entity, values): (Entity, &CustomValues),
    names: Option<&[String]>,
) -> Result<Vec<CustomField>> {
    access(ctx, entity.read_permission())?;
    if names.is_some_and(|names| names.len() > MOST_NAMES) {
        let message = format!("At most {MOST_NAMES} names.");
        return Err(ApiError::BadInput { argument: "names".to_owned(), message }.into_graphql());
    }
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let labels = app(ctx)?.custom_labels(entity);
    let wanted = values.iter().filter(|(name, _)| names.is_none_or(|names| names.contains(name)));
    Ok(wanted.map(|field| CustomField::of(&labels, field)).collect())
}

/// A field of the customer's own, as one connection is told of it.
pub(crate) struct Definition(Item<(ConnectionId, CustomFieldDefinition)>);

/// A field of the customer's own that is read through a connection.
#[Object(name = "CustomFieldDefinition", directive = sensitivity::apply(Sensitivity::Internal))]
impl Definition {
    #[graphql(flatten)]
    async fn record(&self) -> &CustomFieldDefinition {
        &self.0.1
    }

    /// The connection through which it is read.
    async fn connection(&self, ctx: &Context<'_>) -> Result<Option<ConnectedSystem>> {
        let found = access(ctx, ConnectedSystem::PERMISSION)?;
        let connection = self.0.one(
            "connection",
            |told| Some(told.0),
            |ids| async move {
                Ok(keyed(connections_by_ids(found.store, found.rows, &ids).await?, |connection| connection.id))
            },
        );
        Ok(connection.await?.map(ConnectedSystem))
    }
}

/// Queries for custom fields.
#[derive(Default)]
pub(crate) struct CustomFieldQueries;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl CustomFieldQueries {
    /// The fields of the customer's own that are read through the connections now, by connection, kind of record and name.
    /// Two connections that map the same name speak of one field.
    #[graphql(directive = requires::apply(Permission::PipelineRead.as_str().to_owned()))]
    async fn custom_field_definitions(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those of this kind of record.")] entity: Option<Entity>,
        #[graphql(desc = "Only those of this connection.")] connection_id: Option<ID>,
    ) -> Result<Option<Vec<Definition>>> {
        access(ctx, Permission::PipelineRead)?;
        let mut told = app(ctx)?.custom_fields();
        told.retain(|(connection, field)| {
            let is_of = connection_id.as_ref().is_none_or(|id| id.as_str() == connection.to_string());
            is_of && entity.is_none_or(|entity| entity == field.entity)
        });
        Ok(Some(level(told).map(Definition).collect()))
    }
}
