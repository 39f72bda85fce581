//! Watches the built dashboard, so that `./dev` building it anew also builds it into the binary.

fn main() {
    // The folder is always there (it holds a .gitkeep), so this doesn't make every build run again.
    println!("cargo::rerun-if-changed=../../web/dist");
    println!("cargo::rerun-if-changed=build.rs");
}
