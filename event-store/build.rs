//! Rebuilds the crate when a migration is added, because the compiler does not watch the folder they are read from.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
