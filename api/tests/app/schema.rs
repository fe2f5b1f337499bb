//! The schema that is served is the one that is checked in.

use std::path::Path;

#[test]
fn the_schema_that_is_checked_in_is_the_one_that_is_served() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/schema.graphql");
    let served = api::graphql::sdl();
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&file, &served).expect("the schema can be written");
    }
    let checked_in = std::fs::read_to_string(&file).expect("schemas/schema.graphql is there");
    assert!(
        checked_in == served,
        "schemas/schema.graphql is not the schema that is served: run UPDATE_SCHEMAS=1 cargo test -p api --test app"
    );
}
