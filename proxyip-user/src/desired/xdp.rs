//! Whether an interface gets a program at XDP, and where.

use crate::config::Xdp;

/// Drivers that send a frame back from XDP (`XDP_TX`) without conditions that the kernel does not check by itself when a
/// program is attached. Each is in the kernel's `drivers/net/ethernet`, except the last. ENA's README says so
/// (<https://github.com/amzn/amzn-drivers/blob/master/kernel/linux/ena/README.rst>), of the others the kernel's source:
/// `ndo_bpf` and the verdict `XDP_TX`.
const GOOD: [&str; 11] = [
    "bnxt_en",
    "ena",
    "i40e",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "mlx5_core",
    "mvneta",
    "sfc",
    // The kernel refuses where the host offers what a guest cannot switch off.
    "virtio_net",
];

/// The mode that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Native,
    Generic,
}

/// What is known of a driver; `Err` says why nothing is.
pub(crate) type Known<'a> = Result<(&'a str, bool), String>;

/// The mode for an interface with this driver, which takes tags of VLANs off, or does not; `None` without a program.
///
/// # Errors
/// Why there is none, though one is wanted.
pub(crate) fn choose(xdp: Xdp, known: Known) -> Result<Option<Wish>, String> {
    let wish = match xdp {
        Xdp::Off => return Ok(None),
        Xdp::Auto | Xdp::Native => Wish::Native,
        Xdp::Generic => Wish::Generic,
    };
    let (driver, takes_tags_off) = known?;
    if xdp == Xdp::Auto && !GOOD.contains(&driver) {
        return Err(format!(
            "xdp = \"auto\" leaves driver {driver:?} alone: it is not known to send frames back well"
        ));
    }
    // Frames of a VLAN would be answered without their tag.
    if takes_tags_off {
        return Err("the device takes off the tags of VLANs before XDP: `ethtool -K INTERFACE rxvlan off` lets them stay".into());
    }
    Ok(Some(wish))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_what_is_known_and_never_a_veth() {
        assert_eq!(choose(Xdp::Auto, Ok(("ena", false))), Ok(Some(Wish::Native)));
        for driver in ["veth", "tun", "e1000", "", "bridge", "dummy"] {
            let error = choose(Xdp::Auto, Ok((driver, false))).unwrap_err();
            assert!(error.contains(&format!("{driver:?}")), "{error}");
            assert_eq!(choose(Xdp::Native, Ok((driver, false))), Ok(Some(Wish::Native)));
            assert_eq!(choose(Xdp::Generic, Ok((driver, false))), Ok(Some(Wish::Generic)));
        }
    }

    #[test]
    fn tags_that_are_taken_off_are_an_obstacle() {
        for xdp in [Xdp::Auto, Xdp::Native, Xdp::Generic] {
            let error = choose(xdp, Ok(("ena", true))).unwrap_err();
            assert!(error.contains("rxvlan off"), "{error}");
            assert_eq!(choose(xdp, Err("nobody knows".into())), Err("nobody knows".into()));
        }
    }

    #[test]
    fn off_asks_nothing() {
        assert_eq!(choose(Xdp::Off, Err("nobody knows".into())), Ok(None));
    }
}
