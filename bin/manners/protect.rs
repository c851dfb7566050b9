//! What a daemon does for its secrets before it reads the first: no core dumps, and files that it
//! makes are its user's alone.

use anyhow::Context as _;

/// Keeps the memory of this process out of core dumps and away from other programs of the same
/// user, unless `allow_core_dumps`, and keeps the files that it makes from everybody else.
///
/// # Errors
/// When the system refuses.
#[cfg(unix)]
pub fn daemon(allow_core_dumps: bool) -> anyhow::Result<()> {
    use rustix::{
        fs::Mode,
        process::{Resource, Rlimit, setrlimit, umask},
    };
    umask(Mode::RWXG | Mode::RWXO);
    if allow_core_dumps {
        return Ok(());
    }
    // The hard limit too, so that nothing in this process can raise it again.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .context("cannot switch core dumps off; --allow-core-dumps leaves them as they are")?;
    // A limit is not asked when the system pipes cores into a program (systemd-coredump).
    not_dumpable()
}

/// Does nothing where there are no such limits.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn daemon(_allow_core_dumps: bool) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn not_dumpable() -> anyhow::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("cannot close the memory to other programs; --allow-core-dumps leaves it open")
}

#[cfg(all(unix, not(target_os = "linux")))]
#[allow(clippy::unnecessary_wraps, reason = "where it can be done it can fail")]
fn not_dumpable() -> anyhow::Result<()> {
    Ok(())
}
