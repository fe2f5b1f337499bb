//! The live page and GraphiQL with all they need, from the binary.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use rust_embed::RustEmbed;

use super::not_found;

/// The folder `web/`.
#[derive(RustEmbed)]
#[folder = "../web"]
struct Web;

/// `/`
pub async fn index(headers: HeaderMap, uri: Uri) -> Response {
    serve("index.html", &headers, uri).await
}

/// `/graphiql`
pub async fn graphiql(headers: HeaderMap, uri: Uri) -> Response {
    serve("graphiql.html", &headers, uri).await
}

/// `/assets/…` and `/vendor/…`
pub async fn file(headers: HeaderMap, uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/').to_owned();
    serve(&path, &headers, uri).await
}

async fn serve(path: &str, headers: &HeaderMap, uri: Uri) -> Response {
    let Some(file) = Web::get(path) else { return not_found(uri).await };
    // Weak: the same file may be sent compressed.
    let tag = format!("W/\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]));
    // Asked again each time, for names do not change with versions; mostly answered with 304.
    let mut answer = if is_known(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut answer = file.data.into_response();
        let content_type = content_type(path, file.metadata.mimetype());
        if let Ok(content_type) = HeaderValue::from_str(&content_type) {
            answer.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        answer
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

fn content_type(path: &str, guess: &str) -> String {
    let is_licence = path.ends_with("/LICENSE");
    let name = if is_licence { "text/plain" } else { guess };
    if name.starts_with("text/") { format!("{name}; charset=utf-8") } else { name.to_owned() }
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let tags = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.flat_map(|value| value.split(',')).any(|known| known.trim() == "*" || weak(known) == weak(tag))
}
