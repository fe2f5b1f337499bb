//! `docs/errors.md` lists every code with its meaning. `UPDATE_DOCS=1` writes it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use domain::Code;

fn document() -> String {
    let mut text = String::from(
        "# Error codes\n\n\
         Every refusal, rejection and failure has a stable code. Codes are never renamed or reused; the message beside one is for people.\n\n\
         - A command that is **refused** has its code in the payload's `errors`; nothing has happened, and the refusal is remembered under the command's key.\n\
         - An order that risk **rejects** has events and a log position, and the code in `errors` and in the order's `reason`.\n\
         - Missing rights and failures of machinery are GraphQL errors with the code in `extensions.code`; they are not remembered, so asking again with the same key is safe.\n  \
         `transfers` alone has them in the payload of the transfer that failed, so that they do not hide what became of the others: `UNAVAILABLE`, `OVERLOADED` and `FORBIDDEN` there are not refusals.\n\n\
         | code | meaning |\n|---|---|\n",
    );
    for code in Code::ALL {
        writeln!(text, "| `{code}` | {} |", code.meaning().trim()).unwrap();
    }
    text
}

#[test]
fn the_document_of_codes_is_what_the_code_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, document()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert_eq!(written, document(), "run with UPDATE_DOCS=1 to write docs/errors.md");
}

#[test]
fn a_code_is_one_word_of_capitals_and_there_once() {
    let mut seen = BTreeSet::new();
    for code in Code::ALL {
        assert!(seen.insert(code.as_str()), "{code} is there twice");
        assert!(code.as_str().bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{code}");
        assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{code}\""));
        assert!(code.meaning().trim().ends_with('.'), "{code} has a meaning in a sentence");
    }
}
