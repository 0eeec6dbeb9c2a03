//! Erasures: persons of whom nothing is kept any more.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use crosstie_app::erasure::{ErasePerson, LiftErasure};
use crosstie_domain::{
    Refusal,
    access::{Permission, Sensitivity},
    integration::erasure::{ErasedPlace as Place, ErasureRecord, ErasureStatus},
};
use crosstie_store::{
    Condition,
    integration::{self, ErasureColumn},
};

use crate::{
    access::{access, app, app_failed, requires, sensitivity},
    contracts::{decided, read_id},
    edge::{Item, level},
    error::ApiError,
    filter::{Choice, ChoiceFilter, Comparison, Filter, IdFilter, Joined},
    listing::{Node, listed, order_fields},
    request_headers::idempotency_key,
};

/// Rows of one table that held something of the person.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ErasedPlace {
    /// The table of the database.
    table: String,
    /// How many of its rows.
    rows: i64,
}

fn places(places: &[Place]) -> Vec<ErasedPlace> {
    places.iter().map(|place| ErasedPlace { table: place.table.clone(), rows: place.rows }).collect()
}

/// An erasure.
#[derive(Clone)]
pub(crate) struct Erasure(pub(crate) Item<ErasureRecord>);

impl From<Item<ErasureRecord>> for Erasure {
    fn from(item: Item<ErasureRecord>) -> Self {
        Self(item)
    }
}

impl Node for Erasure {
    type Record = ErasureRecord;
    const NAME: &'static str = "Erasure";
    const PERMISSION: Permission = Permission::AccessAdmin;
}

/// The erasure of a person. It holds nothing of the person: neither the e-mail addresses nor the names.
#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl Erasure {
    #[graphql(flatten)]
    async fn record(&self) -> &ErasureRecord {
        &self.0
    }

    /// Identifies it.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Where there was something of the person.
    async fn places(&self) -> Vec<ErasedPlace> {
        places(&self.0.places)
    }
}

impl Choice for ErasureStatus {
    const FILTER: &'static str = "ErasureStatusFilter";
}

/// Which erasures to list. All conditions must hold.
#[derive(InputObject)]
pub(crate) struct ErasureFilter {
    /// The identifier.
    id: Option<IdFilter>,
    /// How it stands.
    status: Option<ChoiceFilter<ErasureStatus>>,
    /// All of these hold.
    and: Option<Vec<ErasureFilter>>,
    /// At least one of these holds.
    or: Option<Vec<ErasureFilter>>,
    /// This does not hold.
    not: Option<Box<ErasureFilter>>,
}

impl Filter for ErasureFilter {
    type Column = ErasureColumn;

    fn own(&self, conditions: &mut Vec<Condition<ErasureColumn>>) -> Result<(), ApiError> {
        self.id.compare(ErasureColumn::Id, conditions)?;
        self.status.compare(ErasureColumn::Status, conditions)
    }

    fn joined(&self) -> Joined<'_, Self> {
        Joined { and: self.and.as_ref(), or: self.or.as_ref(), not: self.not.as_deref() }
    }
}

order_fields! {
    /// What erasures are ordered by.
    ErasureOrderField as "ErasureOrder" of ErasureColumn;
    /// The identifier; later ones are larger.
    Id text,
}

listed! {
    ErasureQueries of Erasure filtered by ErasureFilter, ordered by ErasureOrderField;
    "The erasures of persons." erasures from integration::erasures;
    "One erasure; null when there is none." erasure from integration::erasures_by_ids;
}

/// Whom to erase. At least one e-mail address or name must be given, or a record that has one.
#[derive(InputObject)]
pub(crate) struct ErasePersonInput {
    /// E-mail addresses, at most 20.
    #[graphql(default)]
    emails: Vec<String>,
    /// Names of two words or more, at most 20. They are erased wherever they stand, also where somebody else has them.
    #[graphql(default)]
    names: Vec<String>,
    /// A person of the hub, whose name and e-mail address are added.
    person_id: Option<ID>,
    /// An account that is a person, whose name and e-mail address are added.
    record_id: Option<ID>,
    /// Why; it is kept, without what is erased.
    reason: String,
    /// Whether to say only what would be touched.
    #[graphql(default)]
    dry_run: bool,
    /// The same key with the same input gives the same answer for 24 hours, and begins nothing twice.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What an erasure touches.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct ErasePersonPayload {
    /// With `dryRun`: the rows that hold something of the person now, by table.
    touches: Vec<ErasedPlace>,
    /// The erasure, which goes on in the background; null when it was refused or only asked what would be touched.
    erasure: Option<Erasure>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Which erasure to lift.
#[derive(InputObject)]
pub(crate) struct LiftErasureInput {
    /// The erasure.
    erasure_id: ID,
    /// The same key with the same input gives the same answer for 24 hours.
    idempotency_key: Option<String>,
    /// Given back as it is.
    client_mutation_id: Option<String>,
}

/// What became of lifting an erasure.
#[derive(SimpleObject)]
#[graphql(directive = sensitivity::apply(Sensitivity::Internal))]
pub(crate) struct LiftErasurePayload {
    /// The erasure; null when it was refused.
    erasure: Option<Erasure>,
    /// Why it was refused; empty when it was done.
    user_errors: Vec<Refusal>,
    /// As it was sent.
    client_mutation_id: Option<String>,
}

/// Erasing, and letting come back what was erased.
#[derive(Default)]
pub(crate) struct ErasureMutations;

#[Object(directive = sensitivity::apply(Sensitivity::Internal))]
impl ErasureMutations {
    /// Erases a person: e-mail addresses and names go from records, lineage, evidence, payloads, exchanges and whatever
    /// else the hub keeps, and are kept from coming back. A person of the hub loses all tokens. It goes on in the
    /// background; with `dryRun` it is only said what it touches.
    #[graphql(directive = requires::apply(Permission::AccessAdmin.as_str().to_owned()))]
    async fn erase_person(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to erase, and why.")] input: ErasePersonInput,
    ) -> Result<Option<ErasePersonPayload>> {
        let found = access(ctx, Permission::AccessAdmin)?;
        let client_mutation_id = input.client_mutation_id.clone();
        let refused = |user_errors| ErasePersonPayload {
            touches: vec![],
            erasure: None,
            user_errors,
            client_mutation_id: client_mutation_id.clone(),
        };
        let person_id = input.person_id.map(|id| read_id(&id, "personId")).transpose();
        let record_id = input.record_id.map(|id| read_id(&id, "recordId")).transpose();
        let (person_id, record_id) = match (person_id, record_id) {
            (Ok(person), Ok(record)) => (person, record),
            (Err(refusal), _) | (_, Err(refusal)) => return Ok(Some(refused(vec![refusal]))),
        };
        let wanted = ErasePerson {
            emails: input.emails,
            names: input.names,
            person_id,
            record_id,
            reason: input.reason,
            dry_run: input.dry_run,
            idempotency_key: idempotency_key(ctx, input.idempotency_key),
        };
        Ok(Some(match app(ctx)?.erase_person(found.auth, wanted).await.map_err(app_failed)? {
            Ok(done) => ErasePersonPayload {
                touches: places(&done.places),
                erasure: done.erasure.and_then(|erasure| level(vec![erasure]).next()).map(Erasure),
                user_errors: vec![],
                client_mutation_id,
            },
            Err(refusals) => refused(refusals),
        }))
    }

    /// Lets what was erased be taken in again, such as when the person comes back. What is gone stays gone.
    #[graphql(directive = requires::apply(Permission::AccessAdmin.as_str().to_owned()))]
    async fn lift_erasure(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which erasure.")] input: LiftErasureInput,
    ) -> Result<Option<LiftErasurePayload>> {
        let found = access(ctx, Permission::AccessAdmin)?;
        let decision = match read_id(&input.erasure_id, "erasureId") {
            Ok(erasure_id) => {
                let wanted = LiftErasure { erasure_id, idempotency_key: idempotency_key(ctx, input.idempotency_key) };
                app(ctx)?.lift_erasure(found.auth, wanted).await.map_err(app_failed)?
            }
            Err(refusal) => Err(vec![refusal]),
        };
        let (erasure, user_errors) = decided(decision);
        let client_mutation_id = input.client_mutation_id;
        Ok(Some(LiftErasurePayload { erasure: erasure.map(Erasure), user_errors, client_mutation_id }))
    }
}
