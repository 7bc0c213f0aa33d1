//! How does a registry's token server give a token?

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use tokio::time::timeout;

use super::super::download::root_cause;
use super::super::http;
use super::challenge::{Asked, token_server};
use super::credentials::Login;
use super::session::{Purpose, Session, read};
use crate::error::{Error, Result};

/// The longest answer of a token server.
const ANSWER_LIMIT_BYTES: u64 = 64 << 10;
/// How long a token server may take.
const ANSWER_TIME: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// Returns a token as a header.
pub(super) async fn fetch(session: &Session, asked: &Asked, login: &Login) -> Result<HeaderValue> {
    let url = token_server(&session.settings, &session.origin, &asked.realm);
    let mut url = url.map_err(|reason| session.refused(&reason))?;
    let failed = |reason: String| {
        let host = Url::parse(&asked.realm).ok();
        let host = host.as_ref().and_then(Url::host_str).unwrap_or_default();
        Error::unreachable(format!("the token server '{host}'"), reason)
    };
    // A redirect would take what is in a form along, wherever it leads.
    let client = http::direct_client(&session.settings, &url).await?;
    url.query_pairs_mut()
        .extend_pairs(asked.service.iter().map(|service| ("service", service)))
        .extend_pairs(scopes(session, asked).iter().map(|scope| ("scope", scope)));
    let request = request(&client, url, login)?.header(ACCEPT, "application/json");
    let answer = async {
        let response = request.send().await.map_err(|error| root_cause(&error))?;
        let status = response.status();
        Ok((status, read(response, ANSWER_LIMIT_BYTES).await?))
    };
    let answer = timeout(ANSWER_TIME, answer).await;
    let answer = answer.unwrap_or_else(|_late| Err("no answer".to_owned()));
    let (status, body) = answer.map_err(failed)?;
    match (status, login) {
        (StatusCode::OK, _) => parse(&body).map_err(failed),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Login::None(_)) => {
            Err(session.nobody(login))
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
            Err(session
                .denied("access denied: the login from docker's or podman's file is refused"))
        }
        _ => Err(failed(status.to_string())),
    }
}

/// Returns a name and a password as a header.
pub(super) fn basic(user: &str, password: &str) -> Result<HeaderValue> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

fn request(client: &Client, url: Url, login: &Login) -> Result<RequestBuilder> {
    Ok(match login {
        Login::None(_) => client.get(url),
        Login::Password { user, password } => {
            client.get(url).header(AUTHORIZATION, basic(user, password)?)
        }
        Login::Identity(token) => refresh(client, url, token),
    })
}

/// Returns the request that gives a token for the user's longer-lived one: what is asked for goes into a form.
fn refresh(client: &Client, mut url: Url, token: &str) -> RequestBuilder {
    url.query_pairs_mut()
        .append_pair("grant_type", "refresh_token")
        .append_pair("client_id", "vecuna")
        .append_pair("refresh_token", token);
    let form = url.query().unwrap_or_default().to_owned();
    url.set_query(None);
    client.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
}

/// Returns what the token must allow: what the registry asks for now, and what it will ask for later.
fn scopes(session: &Session, asked: &Asked) -> Vec<String> {
    let actions = match session.purpose {
        Purpose::Pull => "pull",
        Purpose::Push => "pull,push",
    };
    let own = format!("repository:{}:{actions}", session.repo);
    let widen = |scope: &str| match scope.rsplit_once(':') {
        Some((resource, _)) if resource.starts_with("repository:") => {
            format!("{resource}:{actions}")
        }
        _ => scope.to_owned(),
    };
    asked.scope.as_ref().unwrap_or(&own).split_whitespace().map(widen).collect()
}

fn parse(body: &[u8]) -> Result<HeaderValue, String> {
    // What the parser says could repeat a part of the token.
    let answer: Token =
        serde_json::from_slice(body).map_err(|_secret| "it gives no token".to_owned())?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
    let header = secret(&format!("Bearer {}", token.ok_or("it gives no token")?));
    header.map_err(|error| error.to_string())
}

fn secret(text: &str) -> Result<HeaderValue> {
    let header = HeaderValue::from_str(text);
    let mut header = header
        .map_err(|_secret| Error::Unauthorized("a login holds control characters".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}
