//! The stand-in's token endpoint. It believes whoever shows the form of a proof.

use crosstie_sdk::{HttpRequest, HttpResponse, domain::Instant};
use serde_json::json;

use super::{SalesforceFake, epoch_ms};

/// How an assertion is presented (RFC 7523).
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

impl SalesforceFake {
    /// Gives an access token whose life it does not tell, as Salesforce does.
    pub(super) fn token(&mut self, request: &HttpRequest, now: Instant) -> HttpResponse {
        let form = request.form();
        let value = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
        let by_header = request.header("authorization").is_some_and(|value| value.starts_with("Basic "));
        let by_body = !value("client_id").is_empty() && !value("client_secret").is_empty();
        let refused = match value("grant_type") {
            "client_credentials" if by_header || by_body => None,
            "client_credentials" => Some(("invalid_client", "invalid client credentials")),
            JWT_BEARER if by_header || !value("client_secret").is_empty() => {
                Some(("invalid_request", "an assertion proves who the client is; nothing else may"))
            }
            JWT_BEARER if value("assertion").split('.').filter(|part| !part.is_empty()).count() == 3 => None,
            JWT_BEARER => Some(("invalid_grant", "invalid assertion")),
            "refresh_token" if value("refresh_token") == "revoked" => {
                Some(("invalid_grant", "expired access/refresh token"))
            }
            "refresh_token" if !value("refresh_token").is_empty() => None,
            "authorization_code" if !value("code").is_empty() && !value("code_verifier").is_empty() => None,
            "refresh_token" | "authorization_code" => Some(("invalid_grant", "nothing was presented")),
            _ => Some(("unsupported_grant_type", "grant type not supported")),
        };
        if let Some((error, why)) = refused {
            return HttpResponse::json(400, &json!({ "error": error, "error_description": why }));
        }
        self.tokens += 1;
        let mut answer = json!({
            "access_token": format!("00D!fake-token-{}", self.tokens),
            "instance_url": "https://acme.my.salesforce.com",
            "id": "https://login.salesforce.com/id/00D5e000000TestEAA/0055e000000TestAAA",
            "token_type": "Bearer",
            "issued_at": epoch_ms(now).to_string(),
            "signature": "ZmFrZQ==",
            "scope": "api",
        });
        if value("grant_type") == "authorization_code" {
            answer["refresh_token"] = json!("fake-refresh-token");
        }
        HttpResponse::json(200, &answer)
    }
}
