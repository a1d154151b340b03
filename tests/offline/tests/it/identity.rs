//! Certificates that end, linked and cut.

use anyhow::{Result, ensure};
use holdfast_e2e::pods::identities;
use holdfast_e2e::world::{World, items, text};

use crate::node::{cut, heal, status};

pub(crate) fn certificates_are_replaced_on_the_way(world: &mut World) -> Result<()> {
    let ends = |world: &World| -> Result<String> { Ok(text(&status(world, "edge-2")?["certificate_ends"]).to_owned()) };
    let first = ends(world)?;
    ensure!(!first.is_empty(), "the node does not say when its certificate ends");
    world.wait("the node has a later certificate", 90, || Ok(ends(world)? > first))?;
    world.wait("and is linked with it", 30, || Ok(status(world, "edge-2")?["connected"] == true))
}

pub(crate) fn an_expired_certificate_is_renewed_on_return(world: &mut World) -> Result<()> {
    let before = identities(world)?;
    cut(world, "edge-2")?;
    let ends = text(&status(world, "edge-2")?["certificate_ends"]).to_owned();
    world.wait("the certificate has ended", 120, || {
        Ok(world.on_node("edge-2", &["date", "-u", "+%Y-%m-%dT%H:%M:%SZ"])?.trim() > ends.as_str())
    })?;
    heal(world, "edge-2")?;
    ensure!(text(&status(world, "edge-2")?["certificate_ends"]) > ends.as_str(), "the certificate was not renewed");
    world.wait("an Event tells of it", 30, || {
        let events = items(&world.get(&["events", "--field-selector", "involvedObject.name=edge-2"])?);
        Ok(events.iter().any(|event| event["reason"] == "CertificateRenewedAfterExpiry"))
    })?;
    ensure!(before == identities(world)?, "pods were replaced");
    Ok(())
}
