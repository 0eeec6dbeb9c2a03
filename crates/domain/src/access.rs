//! Who may do what: principals, roles, permissions, the rows and the classes of field they may see.

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{AccountId, ConnectionId, PersonId, TokenId},
    time::Instant,
};

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Principal {
    /// A person, with a personal token.
    Person(PersonId),
    /// A program, with a service token.
    Service(TokenId),
    /// Another system, through its connection.
    Connection(ConnectionId),
    /// The hub itself.
    System,
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Person(id) => id.fmt(f),
            Self::Service(id) => id.fmt(f),
            Self::Connection(id) => id.fmt(f),
            Self::System => f.write_str("system"),
        }
    }
}

impl Principal {
    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Self> {
        let person = text.parse().map(Self::Person);
        let service = || text.parse().map(Self::Service);
        let connection = || text.parse().map(Self::Connection);
        person.or_else(|_| service()).or_else(|_| connection()).ok().or((text == "system").then_some(Self::System))
    }
}

/// What an operation needs. Written `contracts:read` in tokens and in the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// See accounts and opportunities.
    PipelineRead,
    /// See statements of work and milestones.
    ContractsRead,
    /// Draft and sign statements of work.
    ContractsWrite,
    /// Accept milestones.
    DeliveryWrite,
    /// See service orders and invoices.
    BillingRead,
    /// See connections, synchronization runs and inbound events.
    IntegrationRead,
    /// Keep the border to other systems: replay, refresh, decide conflicts, link records, subscribe systems.
    IntegrationWrite,
    /// Read the schema: introspection, SDL, GraphiQL.
    SchemaRead,
    /// Manage persons and tokens.
    AccessAdmin,
}

impl Permission {
    /// Every permission with its written form.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::PipelineRead, "pipeline:read"),
        (Self::ContractsRead, "contracts:read"),
        (Self::ContractsWrite, "contracts:write"),
        (Self::DeliveryWrite, "delivery:write"),
        (Self::BillingRead, "billing:read"),
        (Self::IntegrationRead, "integration:read"),
        (Self::IntegrationWrite, "integration:write"),
        (Self::SchemaRead, "schema:read"),
        (Self::AccessAdmin, "access:admin"),
    ];

    /// The written form.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(permission, _)| *permission == self).map_or("", |(_, text)| text)
    }

    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, written)| *written == text).map(|(permission, _)| *permission)
    }
}

/// What a person does in the organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    /// Administers the hub; may do everything.
    Admin,
    /// Leads the services organization.
    ServicesLeader,
    /// Runs projects and accepts milestones.
    ProjectManager,
    /// Sells.
    Sales,
    /// Orders, bills and collects.
    Finance,
    /// Owns the customer after delivery.
    Csm,
    /// Keeps the connections to other systems.
    IntegrationEngineer,
    /// Looks, and changes nothing.
    Viewer,
}

impl Role {
    /// Every role with its written form.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Admin, "ADMIN"),
        (Self::ServicesLeader, "SERVICES_LEADER"),
        (Self::ProjectManager, "PROJECT_MANAGER"),
        (Self::Sales, "SALES"),
        (Self::Finance, "FINANCE"),
        (Self::Csm, "CSM"),
        (Self::IntegrationEngineer, "INTEGRATION_ENGINEER"),
        (Self::Viewer, "VIEWER"),
    ];

    /// The written form.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(role, _)| *role == self).map_or("", |(_, text)| text)
    }

    /// Reads the written form, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, written)| written.eq_ignore_ascii_case(text)).map(|(role, _)| *role)
    }

    /// What a bearer of this role may do.
    pub fn permissions(self) -> &'static [Permission] {
        use Permission::{
            AccessAdmin, BillingRead, ContractsRead, ContractsWrite, DeliveryWrite, IntegrationRead, IntegrationWrite,
            PipelineRead, SchemaRead,
        };
        match self {
            Self::Admin => &[
                PipelineRead,
                ContractsRead,
                ContractsWrite,
                DeliveryWrite,
                BillingRead,
                IntegrationRead,
                IntegrationWrite,
                SchemaRead,
                AccessAdmin,
            ],
            Self::ServicesLeader => {
                &[PipelineRead, ContractsRead, ContractsWrite, DeliveryWrite, BillingRead, IntegrationRead, SchemaRead]
            }
            Self::ProjectManager => &[PipelineRead, ContractsRead, DeliveryWrite, BillingRead, SchemaRead],
            Self::Sales => &[PipelineRead, ContractsRead, ContractsWrite, SchemaRead],
            Self::Finance => &[PipelineRead, ContractsRead, BillingRead, SchemaRead],
            Self::Csm | Self::Viewer => &[PipelineRead, ContractsRead, SchemaRead],
            Self::IntegrationEngineer => {
                &[PipelineRead, ContractsRead, BillingRead, IntegrationRead, IntegrationWrite, SchemaRead]
            }
        }
    }

    /// Whether a bearer of this role sees fields of the class.
    pub fn sees(self, class: Sensitivity) -> bool {
        match class {
            Sensitivity::Public | Sensitivity::Internal => true,
            Sensitivity::Financial => {
                matches!(self, Self::Admin | Self::ServicesLeader | Self::ProjectManager | Self::Sales | Self::Finance)
            }
            Sensitivity::Personnel => self == Self::Admin,
        }
    }
}

/// How closely a field is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum)]
pub enum Sensitivity {
    /// Anybody with a token.
    Public,
    /// Anybody who may see the record.
    Internal,
    /// Prices, totals, margins.
    Financial,
    /// What people cost.
    Personnel,
}

/// The rows a principal may see. It is an argument of every query of the store, so no query can forget it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowScope {
    /// Every row.
    All,
    /// Rows of these accounts alone.
    Accounts(Vec<AccountId>),
}

/// A principal with all that was found out about it when the request came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthContext {
    /// Who acts.
    pub principal: Principal,
    /// The roles it bears.
    pub roles: Vec<Role>,
    /// What its token allows, already cut down to what its roles allow.
    pub permissions: Vec<Permission>,
    /// The rows it may see.
    pub rows: RowScope,
    /// The token it came with.
    pub token: Option<TokenId>,
    /// When the token ends.
    pub expires_at: Option<Instant>,
}

impl AuthContext {
    /// The hub itself: everything is allowed.
    pub fn system() -> Self {
        Self {
            principal: Principal::System,
            roles: vec![Role::Admin],
            permissions: Permission::ALL.iter().map(|(permission, _)| *permission).collect(),
            rows: RowScope::All,
            token: None,
            expires_at: None,
        }
    }

    /// Whether the operation is allowed at all.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }

    /// Whether fields of the class are shown.
    pub fn sees(&self, class: Sensitivity) -> bool {
        self.roles.iter().any(|role| role.sees(class))
    }
}

/// A person of the organization: seller, project manager, approver, CSM or consultant.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "PersonRecord")]
pub struct PersonRecord {
    /// Identifies the person.
    #[graphql(skip)]
    pub id: PersonId,
    /// Full name.
    pub name: String,
    /// E-mail address, in lower case; two persons never share one.
    pub email: String,
    /// What the person does here.
    pub roles: Vec<Role>,
    /// The rows the person may see.
    #[graphql(skip)]
    pub rows: RowScope,
    /// Raised by every change.
    pub version: i32,
}

/// A token as it is kept: everything but the secret, of which only a hash is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Identifies the token.
    pub id: TokenId,
    /// The eight characters by which it is looked up.
    pub lookup: String,
    /// SHA-256 of the secret part, in hexadecimal.
    pub secret_sha256: String,
    /// What it is for, as its maker called it.
    pub label: String,
    /// The person it acts for; `None` for a service token.
    pub person: Option<PersonId>,
    /// Roles of a service token; a personal token takes its person's.
    pub roles: Vec<Role>,
    /// What it allows; empty means all that its roles allow.
    pub permissions: Vec<Permission>,
    /// When it ends.
    pub expires_at: Option<Instant>,
    /// When it was revoked.
    pub revoked_at: Option<Instant>,
    /// When it was made.
    pub created_at: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_forms_read_back() {
        for (permission, text) in Permission::ALL {
            assert_eq!(Permission::parse(text), Some(permission));
            assert_eq!(permission.as_str(), text);
        }
        for (role, text) in Role::ALL {
            assert_eq!(Role::parse(text), Some(role));
            assert_eq!(role.as_str(), text);
        }
    }

    #[test]
    fn principals_read_back() {
        let person = "per_00000000000000000000000001".parse().expect("an identifier");
        let token = "tok_00000000000000000000000001".parse().expect("an identifier");
        let connection = "con_00000000000000000000000001".parse().expect("an identifier");
        let all = [Principal::Person(person), Principal::Service(token), Principal::Connection(connection)];
        for principal in all.into_iter().chain([Principal::System]) {
            assert_eq!(Principal::parse(&principal.to_string()), Some(principal));
        }
        assert_eq!(Principal::parse("nobody"), None);
    }

    #[test]
    fn money_is_hidden_from_those_who_only_look() {
        assert!(Role::Finance.sees(Sensitivity::Financial));
        assert!(!Role::Viewer.sees(Sensitivity::Financial));
        assert!(!Role::Finance.sees(Sensitivity::Personnel));
    }
}
