//! Builds again when the pages change: they are part of the program.

fn main() {
    println!("cargo:rerun-if-changed=../web");
}
