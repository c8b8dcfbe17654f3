//! Tiny container images, made on the fly, the same bytes for the same content.
//!
//! One layer with one file, in the layout of skopeo's `dir:` transport and Docker's manifest schema 2. The
//! layer is not compressed, so that its bytes depend on no compressor's version.

use std::fs;
use std::io;
use std::path::Path;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

/// `application/vnd.docker.distribution.manifest.v2+json`, the media type of [`Image::manifest`].
pub const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// An image for linux/amd64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
}

impl Image {
    /// An image whose only file, `content.txt`, holds `content`. Two contents make two digests.
    pub fn new(content: &str) -> Self {
        let layer = tar("content.txt", content.as_bytes());
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-01-02T03:04:05Z",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [sha256(&layer)]},
            "history": [{"created": "2026-01-02T03:04:05Z", "created_by": "bellbuoy-testkit"}],
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": blob("application/vnd.docker.container.image.v1+json", &config),
            "layers": [blob("application/vnd.docker.image.rootfs.diff.tar", &layer)],
        });
        Self { manifest: manifest.to_string().into_bytes(), config, layer }
    }

    /// The digest of the manifest, `sha256:` and 64 hexadecimal digits.
    pub fn digest(&self) -> String {
        sha256(&self.manifest)
    }

    /// The manifest's bytes.
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// Writes the image as skopeo's `dir:` transport reads it.
    ///
    /// # Errors
    ///
    /// When `folder` is not there or cannot be written to.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join("version"), "Directory Transport Version: 1.1\n")?;
        fs::write(folder.join("manifest.json"), &self.manifest)?;
        for bytes in [&self.config, &self.layer] {
            fs::write(folder.join(sha256(bytes).trim_start_matches("sha256:")), bytes)?;
        }
        Ok(())
    }
}

fn blob(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "size": bytes.len(), "digest": sha256(bytes)})
}

/// `sha256:` and the hexadecimal SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold("sha256:".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// A POSIX ustar archive with one readable file of root's, dated 1970.
fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0"); // mode
    put(108, "0000000\0"); // user
    put(116, "0000000\0"); // group
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0"); // time
    put(148, "        "); // the checksum counts as spaces in itself
    put(156, "0"); // a plain file
    put(257, "ustar\x0000");
    let checksum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{checksum:06o}\0 ").as_bytes());

    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    archive
}

const BLOCK: usize = 512;

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_same_content_makes_the_same_image_and_another_makes_another() {
        assert_eq!(Image::new("a"), Image::new("a"));
        assert_ne!(Image::new("a").digest(), Image::new("b").digest());
    }

    #[test]
    fn a_layer_is_an_archive_that_tar_reads() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = folder.path().join("layer.tar");
        let content = "x".repeat(BLOCK + 1);
        fs::write(&archive, tar("content.txt", content.as_bytes())).expect("a file");
        let tar =
            Command::new("tar").arg("-xOf").arg(&archive).stderr(Stdio::inherit()).output().expect("tar");
        assert!(tar.status.success());
        assert_eq!(String::from_utf8_lossy(&tar.stdout), content);
    }
}
