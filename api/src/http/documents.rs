//! Parsed documents. Clients send the same few texts again and again with other variables, and parsing one costs more than
//! anything else the server does with a small request.

use async_graphql::Request;
use async_graphql::parser::types::ExecutableDocument;
use moka::sync::Cache;

/// Bytes that all texts have together. A document takes up to some hundred times as much memory as its text.
const BYTES: u64 = 256 * 1024;
/// A longer text is parsed each time.
const LONGEST: usize = 8 * 1024;

/// Keeps the documents that were used last.
#[derive(Clone, Debug)]
pub struct Documents(Cache<String, ExecutableDocument>);

impl Default for Documents {
    fn default() -> Self {
        let bytes = |text: &String, _: &ExecutableDocument| u32::try_from(text.len()).unwrap_or(u32::MAX);
        Self(Cache::builder().weigher(bytes).max_capacity(BYTES).build())
    }
}

impl Documents {
    /// The document of the request, which has it parsed from then on; `None` if its text is none.
    pub fn parse<'r>(&self, request: &'r mut Request) -> Option<&'r ExecutableDocument> {
        if request.query.len() > LONGEST {
            return request.parsed_query().ok();
        }
        match self.0.get(request.query.as_str()) {
            Some(document) => request.set_parsed_query(document),
            None => {
                let document = request.parsed_query().ok()?.clone();
                self.0.insert(request.query.clone(), document);
            }
        }
        request.parsed_query().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(documents: &Documents, text: &str) -> Option<usize> {
        let mut request = Request::new(text);
        let document = documents.parse(&mut request)?;
        document.operations.iter().map(|(_, operation)| operation.node.selection_set.node.items.len()).next()
    }

    fn kept(documents: &Documents) -> u64 {
        documents.0.run_pending_tasks();
        documents.0.entry_count()
    }

    #[test]
    fn each_text_has_its_own_document_whenever_it_is_parsed() {
        let documents = Documents::default();
        for _ in 0..2 {
            assert_eq!(fields(&documents, "{ a }"), Some(1));
            assert_eq!(fields(&documents, "{ a b }"), Some(2));
            assert_eq!(fields(&documents, "{ a "), None);
        }
        assert_eq!(kept(&documents), 2, "what is no document is not kept");
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let documents = Documents::default();
        let long = format!("{{ {} }}", "a ".repeat(LONGEST / 2));
        assert_eq!(fields(&documents, &long), Some(LONGEST / 2));
        assert_eq!(kept(&documents), 0);
        for number in 0..1_000 {
            let text = format!("{{ a{number} {} }}", "a ".repeat(500));
            assert_eq!(fields(&documents, &text), Some(501));
        }
        assert!(documents.0.weighted_size() <= BYTES);
        assert!((1..=260).contains(&kept(&documents)), "{}", kept(&documents));
    }
}
