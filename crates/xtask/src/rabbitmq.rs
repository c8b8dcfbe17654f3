//! RabbitMQ 4 beside the RabbitMQ that is installed: that of another release of Debian, in a folder of its own, which
//! the tests enter to start a node.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::{
    command::{cargo, output, program, run, succeeds},
    tools::{is_root, on_path},
};

/// The release that is taken unless another is named; its RabbitMQ is 4.0.
const RELEASE: &str = "trixie";

/// Where the releases are, by name.
const FOLDER: &str = "target/rabbitmq";

/// What the tests look for, and read in the variable.
const INSTALLED: &str = "usr/lib/rabbitmq/lib";
const VARIABLE: &str = "BELLBUOY_TEST_RABBITMQ_ROOT";

/// Most seconds that fetching and unpacking some 300 MB may take. Usually it is one minute.
const LIMIT: &str = "180";

/// Where debootstrap keeps what it knows of each release; newer ones are made as the newest it knows.
const SCRIPTS: &str = "/usr/share/debootstrap/scripts";

/// The broker's suite with its delays, restarts and cluster; a fleet in all its trouble; a node by the files and with the
/// users of `deploy`; one storm of kills.
const TESTS: &str = "(package(bellbuoy-broker) & binary(rabbitmq)) | (package(bellbuoy) & (binary(fleet) \
    | (binary(deploy) & test(the_nodes_files)) | (binary(chaos) & test(whatever_is_killed))))";

/// Fails when a test does, but not where no other release can be had: that says nothing about this tree.
pub(crate) fn rabbitmq4(args: &[String]) -> anyhow::Result<()> {
    let (release, args) = match args {
        [name, rest @ ..] if !name.starts_with('-') => (name.as_str(), rest),
        all => (RELEASE, all),
    };
    let root = match prepare(release)? {
        Ok(root) => root,
        Err(why) => {
            println!("    NOT RUN: no RabbitMQ of {release} can be had here: {why}");
            return Ok(());
        }
    };
    println!("    on {}", version(&root)?);
    run(cargo("nextest run --locked --workspace").env(VARIABLE, root).args(["-E", TESTS]).args(args))
}

/// The root of that release with RabbitMQ in it, made if it is not there; or why it can't be.
fn prepare(release: &str) -> anyhow::Result<Result<PathBuf, String>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let root = workspace.join(FOLDER).join(release);
    if root.join(INSTALLED).is_dir() {
        return Ok(Ok(root));
    }
    if !(on_path("apt-get") && is_root()?) {
        return Ok(Err("it takes root on Debian or Ubuntu".to_owned()));
    }
    let Some(mirror) = mirror()? else { return Ok(Err("apt knows no mirror of Debian".to_owned())) };
    if !on_path("debootstrap") {
        run(program("sh").args(["crates/xtask/apt-install.sh", "debootstrap"]))?;
    }
    let half_made = root.with_extension("half");
    if half_made.exists() {
        fs::remove_dir_all(&half_made)?;
    }
    let parent = root.parent().context("a folder has a parent")?;
    fs::create_dir_all(parent)?;
    let known = Path::new(SCRIPTS).join(release);
    let script = if known.exists() { known } else { Path::new(SCRIPTS).join("sid") };
    let mut make = program("timeout");
    make.args([LIMIT, "debootstrap", "--variant=minbase", "--include=rabbitmq-server", release]);
    if !succeeds(make.arg(&half_made).arg(mirror).arg(script)) {
        let log = half_made.join("debootstrap/debootstrap.log");
        return Ok(Err(format!("debootstrap failed, or took longer than {LIMIT} s; see {}", log.display())));
    }
    // Nodes find each other by this name.
    fs::write(half_made.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    fs::rename(half_made, &root)?;
    Ok(Ok(root))
}

/// From where this system's own packages come, if it is Debian's.
fn mirror() -> anyhow::Result<Option<String>> {
    let format = ["indextargets", "--format", "$(LABEL) $(COMPONENT) $(SITE)", "Created-By: Packages"];
    let targets = String::from_utf8(output(program("apt-get").args(format))?)?;
    Ok(targets.lines().find_map(|line| line.strip_prefix("Debian main ")).map(str::to_owned))
}

/// The name of the folder that RabbitMQ was installed in.
fn version(root: &Path) -> anyhow::Result<String> {
    let mut installed = fs::read_dir(root.join(INSTALLED))?;
    let folder = installed.next().context("RabbitMQ was not installed")??;
    Ok(folder.file_name().to_string_lossy().replace("rabbitmq_server-", "RabbitMQ "))
}
