//! Which kernel modules a guest needs before it can read its disks, and in which order.

use anyhow::{Result, bail};

/// Disks, their file system, and the layer that takes changes.
pub(super) const AT_BOOT: [&str; 5] = ["virtio_pci", "virtio_blk", IF_THERE[0], "ext4", "overlay"];

/// What `ext4` asks for by another name: in some kernels a module, in others built in, and in newer ones not there.
pub(super) const IF_THERE: [&str; 1] = ["crc32c_generic"];

/// The files of `names` and of all that they need, in the order of loading. Those of [`IF_THERE`] may be missing. `dependencies` and
/// `builtin` are the kernel's `modules.dep` and `modules.builtin`.
pub(super) fn load_order(names: &[&str], dependencies: &str, builtin: &str) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    for name in names {
        let line = dependencies
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(file, _)| is_module(file, name));
        let Some((file, needs)) = line else {
            if IF_THERE.contains(name) || builtin.lines().any(|file| is_module(file, name)) {
                continue;
            }
            bail!("the kernel has no {name}");
        };
        // What is needed stands nearest to its user, so the last one comes first:
        // https://man7.org/linux/man-pages/man5/modules.dep.5.html
        for file in needs.split_whitespace().rev().chain([file]) {
            if !order.iter().any(|loaded| loaded == file) {
                order.push(file.to_owned());
            }
        }
    }
    Ok(order)
}

/// Whether `file`, for example `kernel/fs/ext4/ext4.ko`, is the module `name`. A hyphen in one is an underscore in
/// the other.
fn is_module(file: &str, name: &str) -> bool {
    let file = file.rsplit('/').next().unwrap_or(file);
    file.strip_suffix(".ko").is_some_and(|stem| stem.replace('-', "_") == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "kernel/drivers/virtio/virtio.ko:\n\
        kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko\n\
        kernel/drivers/virtio/virtio-pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko\n\
        kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko\n";

    #[test]
    fn each_module_comes_once_and_after_what_it_needs() {
        let order = load_order(&["virtio_pci", "virtio_blk"], DEPENDENCIES, "").unwrap();
        let names: Vec<_> = order.iter().filter_map(|file| file.rsplit('/').next()).collect();
        assert_eq!(names, ["virtio.ko", "virtio_ring.ko", "virtio-pci.ko", "virtio_blk.ko"]);
    }

    #[test]
    fn what_is_built_in_need_not_be_loaded() {
        let builtin = "kernel/fs/ext4/ext4.ko\n";
        assert!(load_order(&["ext4"], DEPENDENCIES, builtin).unwrap().is_empty());
        assert!(load_order(&IF_THERE, DEPENDENCIES, builtin).unwrap().is_empty());
        let error = load_order(&["overlay"], DEPENDENCIES, builtin).unwrap_err();
        assert_eq!(error.to_string(), "the kernel has no overlay");
    }
}
