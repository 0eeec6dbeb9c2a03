//! Erasing a person: what the hub keeps of an e-mail address and of names goes, a mark stands in its place, and it is
//! kept from coming back.
//!
//! The values themselves are never written down. What is kept is a keyed hash, by which they are found: the key is
//! random and of this database alone, so that nobody who sees marks can test a guess without the database.

mod clean;
mod job;
mod mask;

use std::sync::{Arc, PoisonError, RwLock};

use crosstie_domain::{
    Refusal, Refusals, UserErrorCode,
    access::{AuthContext, Permission, RowScope},
    ids::{AccountId, ErasureId, PersonId},
    integration::erasure::{ErasedPlace, ErasedValue, ErasureRecord, ErasureStatus, is_mark},
};
use crosstie_store::{
    Reads, Store, StoreError, Tx, access,
    integration::{ParkedRow, erased_values, erasure_key, erasures_by_ids},
    pipeline::accounts_by_ids,
};
use rand::RngCore;
use serde::Serialize;

pub(crate) use self::clean::{Cleaned, heard};
pub use self::mask::Erased;
use self::mask::{Key, MOST_WORDS, count_words};
use crate::{
    App, AppError, Decision,
    idempotency::{Request, decided},
};

/// The problem of a field whose value, or a part of it, was erased, and the code of what was to be sent with it.
const ERASED: &str = "ERASED";
/// E-mail addresses and names of one person, at most so many of each.
const MOST: usize = 20;
/// The longest e-mail address or name, in bytes.
const LONGEST: usize = 254;
/// The longest reason, in characters.
const LONGEST_REASON: usize = 500;

/// What is erased, as this process knows it; looked at anew when it changed.
#[derive(Clone)]
pub struct ErasedValues {
    known: Arc<RwLock<(i64, Arc<Erased>)>>,
}

impl Default for ErasedValues {
    fn default() -> Self {
        Self { known: Arc::new(RwLock::new((0, Arc::new(Erased::nothing())))) }
    }
}

impl ErasedValues {
    /// What must not be kept, as it is now.
    ///
    /// # Errors
    /// As the database; a key that cannot be read is an error, and nothing is let through.
    pub async fn now(&self, db: &impl Reads) -> Result<Arc<Erased>, StoreError> {
        let Some(key) = erasure_key(db).await? else { return Ok(Arc::new(Erased::nothing())) };
        {
            let (generation, known) = &*self.known.read().unwrap_or_else(PoisonError::into_inner);
            if *generation == key.generation {
                return Ok(Arc::clone(known));
            }
        }
        let bytes = hex::decode(&key.key_hex).map_err(|_| StoreError::Corrupt { column: "erasure_keys.key_hex" })?;
        let erased = Arc::new(Erased::new(Key::new(bytes), &erased_values(db).await?));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = (key.generation, Arc::clone(&erased));
        Ok(erased)
    }
}

/// Whom to erase.
#[derive(Debug, Clone, Default)]
pub struct ErasePerson {
    /// E-mail addresses.
    pub emails: Vec<String>,
    /// Names of at least two words.
    pub names: Vec<String>,
    /// A person of the hub: the name and e-mail address are added to those above.
    pub person_id: Option<PersonId>,
    /// An account that is a person: likewise.
    pub record_id: Option<AccountId>,
    /// Why: 1 to 500 characters.
    pub reason: String,
    /// Whether to say only what would be touched.
    pub dry_run: bool,
    /// The key under which it is done once.
    pub idempotency_key: Option<String>,
}

/// What an erasure touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonErasure {
    /// Rows that hold something of the person now; empty when it was done before.
    pub places: Vec<ErasedPlace>,
    /// The erasure; none when it was only asked what would be touched.
    pub erasure: Option<ErasureRecord>,
}

/// Which erasure to lift.
#[derive(Debug, Clone, Serialize)]
pub struct LiftErasure {
    /// The erasure.
    pub erasure_id: ErasureId,
    /// The key under which it is done once.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// What is kept of an erasure's input under its idempotency key: hashes, and nothing that can be guessed from them.
#[derive(Serialize)]
struct Asked<'a> {
    values: Vec<&'a str>,
    reason: &'a str,
}

impl App {
    /// What must not be kept.
    ///
    /// # Errors
    /// As the database.
    pub async fn erased(&self, db: &impl Reads) -> Result<Arc<Erased>, StoreError> {
        self.erased_values.now(db).await
    }

    /// Parks a row, without what was erased.
    ///
    /// # Errors
    /// As the database.
    pub async fn park(&self, tx: &Tx, row: ParkedRow) -> Result<(), StoreError> {
        self.park_all(tx, vec![row]).await
    }

    /// Parks rows, in their order and without what was erased.
    ///
    /// # Errors
    /// As the database.
    pub async fn park_all(&self, tx: &Tx, rows: Vec<ParkedRow>) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let erased = self.erased(tx).await?;
        let clean = |row: ParkedRow| {
            let ParkedRow { remote_id, message, raw, .. } = row;
            let [remote_id, message, raw] = [remote_id, message, raw].map(|text| erased.masked(text));
            ParkedRow { remote_id, message, raw, ..row }
        };
        tx.park_rows(&rows.into_iter().map(clean).collect::<Vec<_>>()).await
    }

    /// Says what the erasure of a person touches and, unless it is only asked, begins it. From then on nothing of the
    /// person is taken in any more; what is there goes in the background.
    ///
    /// # Errors
    /// As the database.
    pub async fn erase_person(
        &self,
        auth: &AuthContext,
        input: ErasePerson,
    ) -> Result<Decision<PersonErasure>, AppError> {
        if let Err(refusals) = may_erase(auth) {
            return Ok(Err(refusals));
        }
        let (emails, names) = match whom(self.store(), &input).await? {
            Ok(whom) => whom,
            Err(refusals) => return Ok(Err(refusals)),
        };
        if input.dry_run {
            // A key of its own does as well for counting.
            let key = Key::new(random_key());
            let erased =
                Erased::new(key.clone(), &values(&key, (&emails, &names), ErasureId::from_uuid(uuid::Uuid::nil())));
            let places = job::count(self.store(), &erased).await?;
            return Ok(Ok(PersonErasure { places, erasure: None }));
        }
        decided(|| self.try_erase_person(auth, &input, (&emails, &names))).await
    }

    async fn try_erase_person(
        &self,
        auth: &AuthContext,
        input: &ErasePerson,
        (emails, names): (&[String], &[String]),
    ) -> Result<Decision<PersonErasure>, AppError> {
        let tx = self.store().begin().await?;
        let key = tx.next_erasure_key(&hex::encode(random_key())).await?;
        let key = hex::decode(&key.key_hex).map_err(|_| StoreError::Corrupt { column: "erasure_keys.key_hex" })?;
        let key = Key::new(key);
        let id: ErasureId = tx.new_id();
        let values = values(&key, (emails, names), id);
        let reason = Erased::new(key, &values).masked(input.reason.trim().to_owned());
        let asked = Asked { values: values.iter().map(|value| value.hash.as_str()).collect(), reason: &reason };
        let request = Request::new("erasePerson", input.idempotency_key.as_deref(), &asked);
        match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(Some(earlier)) => {
                let ids: Vec<ErasureId> = earlier.parse().into_iter().collect();
                let erasure = erasures_by_ids(&tx, &RowScope::All, &ids).await?.pop();
                return Ok(Ok(PersonErasure { places: vec![], erasure }));
            }
            Ok(None) => {}
        }
        let erasure = ErasureRecord {
            id,
            status: ErasureStatus::Waiting,
            requested_by: auth.principal.to_string(),
            reason,
            emails: i32::try_from(emails.len()).unwrap_or(i32::MAX),
            names: i32::try_from(names.len()).unwrap_or(i32::MAX),
            pass: 1,
            at_table: None,
            at_key: None,
            rows_seen: 0,
            rows_in_pass: 0,
            rows_erased: 0,
            places: vec![],
            created_at: tx.now(),
            finished_at: None,
            lifted_at: None,
            lifted_by: None,
        };
        tx.save_erasure(&erasure).await?;
        tx.save_erased_values(&values).await?;
        request.keep(&tx, auth, id.to_string()).await?;
        tx.commit().await?;
        Ok(Ok(PersonErasure { places: vec![], erasure: Some(erasure) }))
    }

    /// Lets what was erased be taken in again. What is gone stays gone.
    ///
    /// # Errors
    /// As the database.
    pub async fn lift_erasure(
        &self,
        auth: &AuthContext,
        input: LiftErasure,
    ) -> Result<Decision<ErasureRecord>, AppError> {
        if let Err(refusals) = may_erase(auth) {
            return Ok(Err(refusals));
        }
        decided(|| self.try_lift_erasure(auth, &input)).await
    }

    async fn try_lift_erasure(
        &self,
        auth: &AuthContext,
        input: &LiftErasure,
    ) -> Result<Decision<ErasureRecord>, AppError> {
        let tx = self.store().begin().await?;
        let request = Request::new("liftErasure", input.idempotency_key.as_deref(), input);
        let earlier = match request.earlier(&tx, auth).await? {
            Err(refusals) => return Ok(Err(refusals)),
            Ok(earlier) => earlier,
        };
        let Some(mut erasure) = erasures_by_ids(&tx, &RowScope::All, &[input.erasure_id]).await?.pop() else {
            let message = "There is no such erasure.";
            return Ok(Err(vec![Refusal::new("erasureId", UserErrorCode::NotFound, message)]));
        };
        if earlier.is_some() {
            return Ok(Ok(erasure));
        }
        let why_not = match (erasure.status, erasure.lifted_at) {
            (ErasureStatus::Done, None) => None,
            (ErasureStatus::Done, Some(_)) => Some("It was lifted already."),
            _ => Some("It is not done yet."),
        };
        if let Some(message) = why_not {
            return Ok(Err(vec![Refusal::new("erasureId", UserErrorCode::InvalidTransition, message)]));
        }
        erasure.lifted_at = Some(tx.now());
        erasure.lifted_by = Some(auth.principal.to_string());
        tx.lift_erased_values(erasure.id).await?;
        tx.next_erasure_key("").await?;
        tx.save_erasure(&erasure).await?;
        request.keep(&tx, auth, erasure.id.to_string()).await?;
        tx.commit().await?;
        Ok(Ok(erasure))
    }
}

/// Only who may manage persons, and sees every row.
fn may_erase(auth: &AuthContext) -> Result<(), Refusals> {
    if auth.may(Permission::AccessAdmin) && auth.rows == RowScope::All {
        return Ok(());
    }
    let message = "Who erases must be allowed to manage persons and to see every account.";
    Err(vec![Refusal::new("", UserErrorCode::Invalid, message)])
}

/// The e-mail addresses and names to erase, or why that cannot be.
async fn whom(store: &Store, input: &ErasePerson) -> Result<Decision<(Vec<String>, Vec<String>)>, AppError> {
    let refuse = |field: &str, code, message: String| Ok(Err(vec![Refusal::new(field, code, message)]));
    let reason = input.reason.trim();
    if reason.is_empty() {
        return refuse("reason", UserErrorCode::Required, "Say why.".to_owned());
    }
    if reason.chars().count() > LONGEST_REASON || reason.contains('\0') {
        let message = format!("A reason has at most {LONGEST_REASON} characters, none of them NUL.");
        return refuse("reason", UserErrorCode::TooLong, message);
    }
    let trimmed = |texts: &[String]| texts.iter().map(|text| text.trim().to_owned()).collect::<Vec<_>>();
    let (mut emails, mut names) = (trimmed(&input.emails), trimmed(&input.names));
    for (place, email) in emails.iter().enumerate() {
        let (local, domain) = email.split_once('@').unwrap_or_default();
        let odd = |c: char| c == '@' || c.is_whitespace() || c.is_control() || "\"<>()[]\\,;:".contains(c);
        if local.is_empty()
            || domain.is_empty()
            || email.len() > LONGEST
            || [local, domain].iter().any(|part| part.contains(odd))
        {
            let message = "This is no e-mail address of the form local@domain.".to_owned();
            return refuse(&format!("emails.{place}"), UserErrorCode::Invalid, message);
        }
    }
    for (place, name) in names.iter().enumerate() {
        if !is_name(name) {
            let message = format!(
                "A name has 2 to {MOST_WORDS} words: a single word stands for too much else, and would be erased there, too."
            );
            return refuse(&format!("names.{place}"), UserErrorCode::Invalid, message);
        }
    }
    if let Some(id) = input.person_id {
        let Some(person) = access::person(store, id).await? else {
            return refuse("personId", UserErrorCode::NotFound, "There is no such person.".to_owned());
        };
        add(&mut emails, &mut names, (Some(person.email), person.name));
    }
    if let Some(id) = input.record_id {
        let Some(account) = accounts_by_ids(store, &RowScope::All, &[id]).await?.pop() else {
            return refuse("recordId", UserErrorCode::NotFound, "There is no such account.".to_owned());
        };
        add(&mut emails, &mut names, (account.billing_email, account.name));
    }
    for list in [&mut emails, &mut names] {
        list.sort();
        list.dedup();
    }
    if emails.is_empty() && names.is_empty() {
        let message = "Name at least one e-mail address, or a name of two words or more.".to_owned();
        return refuse("emails", UserErrorCode::Required, message);
    }
    for (field, list) in [("emails", &emails), ("names", &names)] {
        if list.len() > MOST {
            return refuse(field, UserErrorCode::LimitExceeded, format!("At most {MOST} at once."));
        }
    }
    Ok(Ok((emails, names)))
}

fn is_name(name: &str) -> bool {
    (2..=MOST_WORDS).contains(&count_words(name)) && name.len() <= LONGEST && !name.contains('\0')
}

/// Adds what a record shows, as far as it says who somebody is.
fn add(emails: &mut Vec<String>, names: &mut Vec<String>, (email, name): (Option<String>, String)) {
    emails.extend(email.filter(|email| email.contains('@') && !is_mark(email)));
    names.extend(Some(name).filter(|name| is_name(name) && !is_mark(name)));
}

fn values(key: &Key, (emails, names): (&[String], &[String]), erasure: ErasureId) -> Vec<ErasedValue> {
    let hashed = emails.iter().map(|email| key.email(email)).chain(names.iter().map(|name| key.name(name)));
    hashed.map(|(hash, words, letters)| ErasedValue { hash, erasure, words, letters }).collect()
}

fn random_key() -> Vec<u8> {
    let mut key = vec![0; 32];
    rand::rng().fill_bytes(&mut key);
    key
}
