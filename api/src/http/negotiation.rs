//! Which media types come in and go out, by the GraphQL-over-HTTP specification.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderName};

/// The media type of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json`: also when nothing particular is accepted.
    Json,
    /// `application/graphql-response+json`: statuses tell what happened.
    GraphqlResponse,
}

impl Media {
    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json; charset=utf-8",
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
        }
    }
}

/// What the caller accepts; `None` if it is neither of ours.
pub fn accepted(headers: &HeaderMap) -> Option<Media> {
    let mut is_any = true;
    let mut json = Preference::default();
    let mut graphql = Preference::default();
    for value in headers.get_all(ACCEPT) {
        let Ok(value) = value.to_str() else { continue };
        for range in value.split(',').filter(|range| !range.trim().is_empty()) {
            is_any = false;
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let mut quality = 1.0_f32;
            let mut is_utf8 = true;
            for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                match key.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "charset" => is_utf8 = is_utf8_name(value),
                    _ => {}
                }
            }
            if !is_utf8 {
                continue;
            }
            match name.as_str() {
                "application/json" => json.prefer(3, quality),
                "application/graphql-response+json" => graphql.prefer(3, quality),
                "application/*" => {
                    json.prefer(2, quality);
                    graphql.prefer(2, quality);
                }
                "*/*" => {
                    json.prefer(1, quality);
                    graphql.prefer(1, quality);
                }
                _ => {}
            }
        }
    }
    if is_any {
        return Some(Media::Json);
    }
    // At the same quality the one that was named goes before the one that a wildcard lets through.
    let graphql_first =
        graphql.quality > json.quality || (graphql.quality >= json.quality && graphql.precision == 3);
    match (graphql.quality > 0.0, json.quality > 0.0) {
        (true, _) if graphql_first => Some(Media::GraphqlResponse),
        (_, true) => Some(Media::Json),
        _ => None,
    }
}

/// How much a media type is wanted, and how precisely that was said.
#[derive(Default)]
struct Preference {
    precision: u8,
    quality: f32,
}

impl Preference {
    /// The most precise range counts.
    fn prefer(&mut self, precision: u8, quality: f32) {
        if precision > self.precision || (precision == self.precision && quality > self.quality) {
            *self = Self { precision, quality };
        }
    }
}

/// Whether the body is what is read here: JSON in UTF-8, as it is. Forms and plain text are what a foreign page can make a
/// browser send without asking.
pub fn is_json(headers: &HeaderMap) -> bool {
    let encoding = text(headers, &CONTENT_ENCODING).unwrap_or("identity");
    let Some(content_type) = text(headers, &CONTENT_TYPE) else { return false };
    let mut parts = content_type.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/json"));
    let is_utf8 = parts
        .filter_map(|part| part.split_once('='))
        .all(|(key, value)| !key.trim().eq_ignore_ascii_case("charset") || is_utf8_name(value));
    is_json && is_utf8 && encoding.trim().eq_ignore_ascii_case("identity")
}

fn is_utf8_name(value: &str) -> bool {
    let value = value.trim().trim_matches('"');
    value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
}

/// The text of a header that is there once.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { Some("") } else { Some(value.to_str().unwrap_or_default()) }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", Some(Media::Json))]
    #[case("*/*", Some(Media::Json))]
    #[case("application/*", Some(Media::Json))]
    #[case("application/json", Some(Media::Json))]
    #[case("application/graphql-response+json", Some(Media::GraphqlResponse))]
    #[case(
        "application/graphql-response+json; charset=utf-8, application/json; charset=utf-8",
        Some(Media::GraphqlResponse)
    )]
    #[case("application/json, application/graphql-response+json;q=0.5", Some(Media::Json))]
    #[case("application/json;q=0.2, */*;q=0.1", Some(Media::Json))]
    #[case("application/json;q=0, */*", Some(Media::GraphqlResponse))]
    #[case("text/html, */*;q=0.1", Some(Media::Json))]
    #[case("text/html", None)]
    #[case("application/json;q=0", None)]
    #[case("application/json; charset=utf-16", None)]
    fn the_best_that_is_accepted_is_answered(#[case] accept: &'static str, #[case] media: Option<Media>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        assert_eq!(accepted(&headers), media);
    }

    #[rstest]
    #[case("application/json", true)]
    #[case("Application/JSON; charset=UTF-8", true)]
    #[case("application/json; charset=\"utf8\"", true)]
    #[case("application/json; charset=utf-16", false)]
    #[case("text/plain", false)]
    #[case("application/x-www-form-urlencoded", false)]
    #[case("multipart/form-data; boundary=x", false)]
    #[case("application/jsonp", false)]
    fn only_json_in_utf_8_is_read(#[case] content_type: &'static str, #[case] is_read: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        assert_eq!(is_json(&headers), is_read);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(!is_json(&headers));
    }
}
