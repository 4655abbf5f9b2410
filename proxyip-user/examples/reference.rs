//! Prints, as JSON, the blocks that `cargo xtask docs` writes into the documents.

fn main() -> anyhow::Result<()> {
    println!("{}", proxyip_user::reference::reference()?);
    Ok(())
}
