//! Persons and tokens.
//!
//! A token is `xt_<environment>_<look-up>_<secret>_<checksum>`: it is looked up by its eight characters, its secret
//! (256 random bits) is compared with the hash that is kept, and the checksum lets scanners and typing errors be told
//! apart from forgeries.

use crosstie_domain::{
    Instant,
    access::{AuthContext, Permission, PersonRecord, Principal, Role, RowScope, TokenRecord},
    ids::TokenId,
};
use crosstie_store::access;
use rand::{Rng, distr::Alphanumeric};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{App, AppError};

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// What it is for.
    pub label: String,
    /// The person it acts for, by e-mail address; a service when none.
    pub person_email: Option<String>,
    /// Roles of a service token.
    pub roles: Vec<Role>,
    /// What it allows; empty means all that its roles allow.
    pub permissions: Vec<Permission>,
    /// When it ends.
    pub expires_at: Option<Instant>,
}

/// Why a token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is no such person.
    #[error("there is no person with the e-mail address {0:?}")]
    NoSuchPerson(String),
    /// A service token needs a role.
    #[error("a service token needs at least one role")]
    NoRole,
    /// The database.
    #[error(transparent)]
    App(#[from] AppError),
}

impl From<crosstie_store::StoreError> for TokenError {
    fn from(error: crosstie_store::StoreError) -> Self {
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
        let tx = self.store().begin().await?;
        let person = match &input.person_email {
            None if input.roles.is_empty() => return Err(TokenError::NoRole),
            None => None,
            Some(email) => {
                let person = access::person_by_email(&tx, &email.to_lowercase()).await?;
                Some(person.ok_or_else(|| TokenError::NoSuchPerson(email.clone()))?.id)
            }
        };
        let (lookup, secret) = (random(8), random(43));
        let kind = if person.is_some() { "user" } else { "service" };
        let text = format!("xt_{kind}_{lookup}_{secret}");
        let token = TokenRecord {
            id: tx.new_id(),
            lookup,
            secret_sha256: hex::encode(Sha256::digest(&secret)),
            label: input.label,
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
        let (principal, roles, rows) = match kept.person {
            None => (Principal::Service(kept.id), kept.roles, RowScope::All),
            Some(id) => match access::person(self.store(), id).await? {
                Some(person) => (Principal::Person(id), person.roles, person.rows),
                None => return Ok(Err(TokenRefused::Invalid)),
            },
        };
        let mut permissions: Vec<Permission> = roles.iter().flat_map(|role| role.permissions()).copied().collect();
        permissions.sort();
        permissions.dedup();
        if !kept.permissions.is_empty() {
            permissions.retain(|permission| kept.permissions.contains(permission));
        }
        let (token, expires_at) = (Some(kept.id), kept.expires_at);
        Ok(Ok(AuthContext { principal, roles, permissions, rows, token, expires_at }))
    }

    /// Adds a person, or changes the one with this e-mail address.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn save_person(
        &self,
        name: &str,
        email: &str,
        roles: Vec<Role>,
        rows: RowScope,
    ) -> Result<PersonRecord, AppError> {
        let tx = self.store().begin().await?;
        let email = email.trim().to_lowercase();
        let found = access::person_by_email(&tx, &email).await?;
        let (id, version) = found.map_or_else(|| (tx.new_id(), 0), |person| (person.id, person.version));
        let person = PersonRecord { id, name: name.trim().to_owned(), email, roles, rows, version: version + 1 };
        tx.save_person(&person).await?;
        tx.commit().await?;
        Ok(person)
    }
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
}
