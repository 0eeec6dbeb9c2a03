//! Persons and tokens.
//!
//! A token is `xt_<environment>_<look-up>_<secret>_<checksum>`: it is looked up by its eight characters, its secret
//! (256 random bits) is compared with the hash that is kept, and the checksum lets scanners and typing errors be told
//! apart from forgeries.

use crosstie_domain::{
    Instant,
    access::{AuthContext, Permission, PersonRecord, Principal, Role, RowScope, TokenRecord},
    ids::{AccountId, TokenId},
};
use crosstie_store::{Reads, StoreError, Tx, access, pipeline::accounts_by_ids};
use rand::{Rng, distr::Alphanumeric};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{App, AppError};

/// The longest label of a token and name of a person, in characters.
const NAME_LENGTH: usize = 100;
/// The longest e-mail address, in bytes.
const EMAIL_LENGTH: usize = 254;

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// What it is for: 1 to 100 characters, none of them a control character.
    pub label: String,
    /// The person it acts for, by e-mail address; a service when none.
    pub person_email: Option<String>,
    /// Roles of a service token; a personal one takes its person's.
    pub roles: Vec<Role>,
    /// What it allows of what its roles allow; empty means all of that.
    pub permissions: Vec<Permission>,
    /// When it ends.
    pub expires_at: Option<Instant>,
}

/// Why a token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The label is empty, too long, or holds a control character.
    #[error("a label has 1 to {NAME_LENGTH} characters, and no control characters")]
    Label,
    /// There is no such person.
    #[error("there is no person with the e-mail address {0:?}")]
    NoSuchPerson(String),
    /// A service token needs a role.
    #[error("a service token needs at least one role")]
    NoRole,
    /// A personal token was given roles of its own.
    #[error("a personal token has the roles of its person, and no others")]
    RolesOfPerson,
    /// A permission that none of the roles gives.
    #[error("the roles of the token do not allow {}", .0.as_str())]
    BeyondRoles(Permission),
    /// The database.
    #[error(transparent)]
    App(#[from] AppError),
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        Self::App(error.into())
    }
}

/// Why a person could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    /// The name is empty, too long, or holds a control character.
    #[error("a person has a name of 1 to {NAME_LENGTH} characters, and no control characters")]
    Name,
    /// The e-mail address does not look like one.
    #[error("{0:?} is not an e-mail address of the form local@domain")]
    Email(String),
    /// A person without a role may do nothing.
    #[error("a person has at least one role")]
    NoRole,
    /// There is nobody with this e-mail address, and too little was given for a new person.
    #[error("there is nobody with the e-mail address {email:?} yet, and a new person needs {}", .missing.join(", "))]
    Incomplete {
        /// The e-mail address.
        email: String,
        /// What was left out.
        missing: Vec<&'static str>,
    },
    /// There is no such account.
    #[error("there is no account {0}")]
    NoSuchAccount(AccountId),
    /// The database.
    #[error(transparent)]
    App(#[from] AppError),
}

impl From<StoreError> for PersonError {
    fn from(error: StoreError) -> Self {
        Self::App(error.into())
    }
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefused {
    /// It is none that was made here, or it was revoked.
    Invalid,
    /// It has ended.
    Expired,
}

impl App {
    /// Makes a token. Its text is given once, here, and kept nowhere.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn create_token(&self, input: NewToken) -> Result<(TokenId, String), TokenError> {
        let label = named(&input.label).ok_or(TokenError::Label)?;
        let tx = self.store().begin().await?;
        let (person, roles) = match &input.person_email {
            None if input.roles.is_empty() => return Err(TokenError::NoRole),
            None => (None, input.roles.clone()),
            Some(_) if !input.roles.is_empty() => return Err(TokenError::RolesOfPerson),
            Some(email) => {
                let person = access::person_by_email(&tx, &email.trim().to_lowercase()).await?;
                let person = person.ok_or_else(|| TokenError::NoSuchPerson(email.clone()))?;
                (Some(person.id), person.roles)
            }
        };
        let allowed = permissions_of(&roles);
        if let Some(beyond) = input.permissions.iter().find(|permission| !allowed.contains(permission)) {
            return Err(TokenError::BeyondRoles(*beyond));
        }
        let (lookup, secret) = (random(8), random(43));
        let kind = if person.is_some() { "user" } else { "service" };
        let text = format!("xt_{kind}_{lookup}_{secret}");
        let token = TokenRecord {
            id: tx.new_id(),
            lookup,
            secret_sha256: hex::encode(Sha256::digest(&secret)),
            label,
            person,
            roles: input.roles,
            permissions: input.permissions,
            expires_at: input.expires_at,
            revoked_at: None,
            created_at: tx.now(),
        };
        tx.save_token(&token).await?;
        tx.commit().await?;
        let checksum = checksum(&text);
        Ok((token.id, format!("{text}_{checksum}")))
    }

    /// Who comes with this token.
    ///
    /// # Errors
    /// [`AppError`] when it could not be found out; a refusal is an answer.
    pub async fn authenticate(&self, token: &str) -> Result<Result<AuthContext, TokenRefused>, AppError> {
        let Some((lookup, secret)) = parts(token) else { return Ok(Err(TokenRefused::Invalid)) };
        let kept = access::token_by_lookup(self.store(), lookup).await?;
        let sha256 = hex::encode(Sha256::digest(secret));
        let expected = kept.as_ref().map_or("", |token| token.secret_sha256.as_str());
        let right: bool = sha256.as_bytes().ct_eq(expected.as_bytes()).into();
        let Some(kept) = kept.filter(|kept| right && kept.revoked_at.is_none()) else {
            return Ok(Err(TokenRefused::Invalid));
        };
        if kept.expires_at.is_some_and(|until| until <= self.store().now()) {
            return Ok(Err(TokenRefused::Expired));
        }
        Ok(bearer(self.store(), kept).await?.ok_or(TokenRefused::Invalid))
    }

    /// Whether what was found out about who comes holds still: the token neither ended nor was revoked, and allows and
    /// shows the same. The hub itself always may.
    ///
    /// # Errors
    /// [`AppError`] when it could not be found out.
    pub async fn holds(&self, auth: &AuthContext) -> Result<bool, AppError> {
        let Some(id) = auth.token else { return Ok(true) };
        let kept = access::token(self.store(), id).await?;
        let Some(kept) = kept.filter(|kept| kept.revoked_at.is_none()) else { return Ok(false) };
        if kept.expires_at.is_some_and(|until| until <= self.store().now()) {
            return Ok(false);
        }
        Ok(bearer(self.store(), kept).await?.as_ref() == Some(auth))
    }

    /// Adds a person, or changes the one with this e-mail address. What is left out stays as it is; a new person
    /// needs all of it.
    ///
    /// # Errors
    /// [`PersonError`], and nothing was saved.
    pub async fn save_person(
        &self,
        name: impl Into<Option<&str>>,
        email: &str,
        roles: impl Into<Option<Vec<Role>>>,
        rows: impl Into<Option<RowScope>>,
    ) -> Result<PersonRecord, PersonError> {
        let (name, roles, rows) = (name.into(), roles.into(), rows.into());
        let email = address(email).ok_or_else(|| PersonError::Email(email.to_owned()))?;
        let name = name.map(|name| named(name).ok_or(PersonError::Name)).transpose()?;
        if roles.as_ref().is_some_and(Vec::is_empty) {
            return Err(PersonError::NoRole);
        }
        let tx = self.store().begin().await?;
        if let Some(RowScope::Accounts(accounts)) = &rows {
            all_exist(&tx, accounts).await?;
        }
        let person = match access::person_by_email(&tx, &email).await? {
            Some(found) => PersonRecord {
                name: name.unwrap_or(found.name),
                roles: roles.unwrap_or(found.roles),
                rows: rows.unwrap_or(found.rows),
                version: found.version + 1,
                ..found
            },
            None => match (name, roles, rows) {
                (Some(name), Some(roles), Some(rows)) => {
                    PersonRecord { id: tx.new_id(), name, email, roles, rows, version: 1 }
                }
                (name, roles, rows) => {
                    let given = [
                        (name.is_some(), "a name"),
                        (roles.is_some(), "a role"),
                        (rows.is_some(), "accounts to see (or all)"),
                    ];
                    let missing = given.iter().filter(|(given, _)| !given).map(|(_, what)| *what).collect();
                    return Err(PersonError::Incomplete { email, missing });
                }
            },
        };
        tx.save_person(&person).await?;
        tx.commit().await?;
        Ok(person)
    }
}

/// What the bearer of a good token may do and see; `None` when the person is gone.
async fn bearer(db: &impl Reads, token: TokenRecord) -> Result<Option<AuthContext>, AppError> {
    let (principal, roles, rows) = match token.person {
        None => (Principal::Service(token.id), token.roles, RowScope::All),
        Some(id) => match access::person(db, id).await? {
            Some(person) => (Principal::Person(id), person.roles, person.rows),
            None => return Ok(None),
        },
    };
    let mut permissions = permissions_of(&roles);
    if !token.permissions.is_empty() {
        permissions.retain(|permission| token.permissions.contains(permission));
    }
    let (token, expires_at) = (Some(token.id), token.expires_at);
    Ok(Some(AuthContext { principal, roles, permissions, rows, token, expires_at }))
}

/// What a principal may do and see now, whatever it comes with; `None` when the person is gone, or when the token of
/// a service ended or was revoked.
pub(crate) async fn rights(
    db: &impl Reads,
    principal: Principal,
    now: Instant,
) -> Result<Option<AuthContext>, AppError> {
    match principal {
        Principal::System => Ok(Some(AuthContext::system())),
        Principal::Connection(_) => Ok(None),
        Principal::Person(id) => {
            let person = access::person(db, id).await?;
            Ok(person.map(|PersonRecord { roles, rows, .. }| {
                let permissions = permissions_of(&roles);
                AuthContext { principal, roles, permissions, rows, token: None, expires_at: None }
            }))
        }
        Principal::Service(id) => {
            let ended =
                |token: &TokenRecord| token.revoked_at.is_some() || token.expires_at.is_some_and(|until| until <= now);
            match access::token(db, id).await?.filter(|token| !ended(token)) {
                Some(token) => bearer(db, token).await,
                None => Ok(None),
            }
        }
    }
}

/// Whether each of the accounts is there.
async fn all_exist(tx: &Tx, accounts: &[AccountId]) -> Result<(), PersonError> {
    let found = accounts_by_ids(tx, &RowScope::All, accounts).await?;
    match accounts.iter().find(|id| !found.iter().any(|account| account.id == **id)) {
        Some(missing) => Err(PersonError::NoSuchAccount(*missing)),
        None => Ok(()),
    }
}

/// What the bearer of these roles may do, each permission once.
fn permissions_of(roles: &[Role]) -> Vec<Permission> {
    let mut permissions: Vec<Permission> = roles.iter().flat_map(|role| role.permissions()).copied().collect();
    permissions.sort();
    permissions.dedup();
    permissions
}

/// A label or name without the spaces around it, if it is one.
fn named(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = (1..=NAME_LENGTH).contains(&text.chars().count()) && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
}

/// An e-mail address in lower case, if it has the form of one.
fn address(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let (local, domain) = text.split_once('@')?;
    let odd = |c: char| c == '@' || c.is_whitespace() || c.is_control();
    let fits = [local, domain].iter().all(|part| !part.is_empty() && !part.contains(odd)) && text.len() <= EMAIL_LENGTH;
    fits.then_some(text)
}

fn random(length: usize) -> String {
    rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect()
}

/// Eight hexadecimal digits that tell a mistyped token.
fn checksum(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..4])
}

/// The look-up part and the secret of a token of the right form.
fn parts(token: &str) -> Option<(&str, &str)> {
    let (text, check) = token.rsplit_once('_')?;
    let mut parts = text.split('_');
    let (prefix, _kind, lookup, secret) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none() && prefix == "xt" && lookup.len() == 8 && secret.len() == 43;
    (whole && checksum(text) == check).then_some((lookup, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_token_is_told_by_its_checksum() {
        let text = format!("xt_service_{}_{}", random(8), random(43));
        let token = format!("{text}_{}", checksum(&text));
        assert!(parts(&token).is_some());
        assert!(parts(&text).is_none());
        assert!(parts(&token.replacen("xt_service", "xt_user", 1)).is_none());
        assert!(parts("").is_none());
    }

    #[test]
    fn an_email_address_has_two_parts() {
        assert_eq!(address(" Ann.Lee@Example.com ").as_deref(), Some("ann.lee@example.com"));
        for wrong in ["", "ann", "@example.com", "ann@", "ann@b@c", "ann lee@example.com", "ann@exam\nple.com"] {
            assert_eq!(address(wrong), None, "{wrong:?}");
        }
        assert_eq!(address(&format!("{}@example.com", "a".repeat(250))), None);
    }

    #[test]
    fn a_name_is_neither_empty_nor_long_nor_more_than_a_line() {
        assert_eq!(named(" Ann Lee ").as_deref(), Some("Ann Lee"));
        for wrong in ["", "  ", "two\nlines", "bell\u{7}", &"x".repeat(101)] {
            assert_eq!(named(wrong), None, "{wrong:?}");
        }
        assert!(named(&"\u{e9}".repeat(100)).is_some(), "characters are counted, not bytes");
    }

    #[test]
    fn roles_together_allow_each_permission_once() {
        let both = permissions_of(&[Role::Finance, Role::ProjectManager]);
        assert_eq!(both.iter().filter(|permission| **permission == Permission::PipelineRead).count(), 1);
        assert!(both.contains(&Permission::DeliveryWrite) && !both.contains(&Permission::ContractsWrite));
    }
}
