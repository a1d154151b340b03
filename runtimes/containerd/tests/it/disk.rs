//! What containers write, volumes from images, volumes that images declare, mounts that are passed on.

use crate::harness::*;
use holdfast_runtime::*;
use nix::mount::{MsFlags, mount};
use serde_json::json;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const DATA: &str = "registry.local/data:1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_container_writes_is_counted() {
    let node = Node::start();
    let runtime = node.ready().await;
    let disk = runtime.image_fs().await.unwrap().unwrap();
    assert!(disk.capacity_bytes >= disk.used_bytes && disk.available_bytes > 0, "{disk:?}");
    assert_eq!(disk.device, std::fs::metadata(node.path("root")).unwrap().dev());
    let sandbox = node.sandbox("pod-0");
    let container = node.container("dd if=/dev/zero of=/big bs=1000000 count=5 && echo written; sleep 1000");
    node.run(&runtime, &sandbox, &container).await;
    log_has(&container, "written").await;
    let ids = [container.id.clone(), "of-another-runtime".to_string()];
    let used = runtime.disk_usage(&ids).await.unwrap();
    assert_eq!(used.len(), 1, "{used:?}");
    let used = used[&container.id];
    assert!((5_000_000..6_000_000).contains(&used.bytes) && (2..50).contains(&used.inodes), "{used:?}");
    runtime.stop_container(&container.id, Some("SIGKILL"), DEADLINE).await.unwrap();
    assert!(runtime.disk_usage(&ids).await.unwrap()[&container.id].bytes > 5_000_000, "also of a dead one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_shows_an_image_until_its_pod_lets_go_of_it() {
    let node = Node::start();
    let runtime = node.ready().await;
    let tar = node.path("data.tar");
    let layers: [&[(&str, &str, u64)]; 2] =
        [&[("data/", "", 0), ("data/text", "low", 33)], &[("data/text", "high", 33), ("run.sh", "#!/bin/sh\n", 0)]];
    write_image_with(&tar, DATA, &layers, json!({}));
    runtime.import_image(&tar).await.unwrap();
    let target = node.path("pods/uid-1/images/v");
    let image = ImageMount { pod_uid: "uid-1".into(), volume: "v".into(), image: DATA.into(), target: target.clone() };
    runtime.mount_image(&image).await.unwrap();
    runtime.mount_image(&image).await.unwrap();
    let mounted = || mount_table::mounts_below(&target).unwrap().len();
    assert_eq!(mounted(), 1);
    assert_eq!(runtime.image_mounts().await.unwrap(), ["uid-1"]);

    let sandbox = node.sandbox("pod-0");
    let mut container = node.container(
        "cat /v/data/text; echo; touch /v/new || echo read-only; /v/bin/busybox echo ran || echo not run; sleep 1000",
    );
    container.mounts = vec![Mount {
        host_path: target.display().to_string(),
        container_path: "/v".into(),
        read_only: true,
        no_exec: true,
        ..Mount::default()
    }];
    node.run(&runtime, &sandbox, &container).await;
    for text in ["high", "read-only", "not run"] {
        log_has(&container, text).await;
    }

    // The image goes, and the volume stays, with another agent too.
    let id = runtime.image(DATA).await.unwrap().unwrap().id;
    runtime.remove_image(&id).await.unwrap();
    drop(runtime);
    let runtime = node.runtime();
    until("containerd answers", async || runtime.version().await.is_ok()).await;
    assert_eq!(runtime.image(DATA).await.unwrap(), None);
    runtime.mount_image(&image).await.unwrap();
    assert_eq!(std::fs::read_to_string(target.join("data/text")).unwrap(), "high");
    // After a reboot the mount is gone, and what it showed is not.
    runtime.stop_container(&container.id, Some("SIGKILL"), DEADLINE).await.unwrap();
    nix::mount::umount2(&target, nix::mount::MntFlags::MNT_DETACH).unwrap();
    runtime.mount_image(&image).await.unwrap();
    assert_eq!(std::fs::read_to_string(target.join("data/text")).unwrap(), "high");

    nix::mount::umount2(&target, nix::mount::MntFlags::MNT_DETACH).unwrap();
    runtime.release_images("uid-1").await.unwrap();
    runtime.release_images("uid-1").await.unwrap();
    assert_eq!((runtime.image_mounts().await.unwrap(), mounted()), (Vec::<String>::new(), 0));
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_of_volumes_that_cannot_be_had_say_so() {
    let node = Node::start();
    let runtime = node.ready().await;
    let target = node.path("pods/u/images/v");
    let image = |image: &str| ImageMount {
        pod_uid: "u".into(),
        volume: "v".into(),
        image: image.into(),
        target: target.clone(),
    };
    let missing = runtime.mount_image(&image("registry.local/missing:1")).await.unwrap_err();
    assert!(matches!(missing, RuntimeError::ImagePull { .. }), "{missing}");
    assert_eq!(runtime.image_mounts().await.unwrap(), Vec::<String>::new());
    // An image of one layer is a folder that is bound.
    runtime.mount_image(&image(IMAGE)).await.unwrap();
    assert!(target.join("bin/busybox").exists());
    assert!(std::fs::write(target.join("new"), "x").is_err());
    nix::mount::umount2(&target, nix::mount::MntFlags::MNT_DETACH).unwrap();
    runtime.release_images("u").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_that_an_image_declares_are_the_containers_own() {
    let node = Node::start();
    let runtime = node.ready().await;
    let tar = node.path("volume.tar");
    let files: [&[(&str, &str, u64)]; 1] =
        [&[("data/", "", 33), ("data/text", "from the image", 33), ("covered/", "", 0), ("covered/text", "no", 0)]];
    let volumes = json!({"Volumes": {"/data": {}, "/covered/": {}, "/empty": {}}});
    write_image_with(&tar, "registry.local/volume:1", &files, volumes);
    runtime.import_image(&tar).await.unwrap();
    let sandbox = node.sandbox("pod-0");
    let host = node.path("host");
    std::fs::create_dir(&host).unwrap();
    let mut container = node.container(
        "cat /data/text; echo; ls -ldn /data | while read mode links uid gid rest; do echo $mode $uid $gid; done; \
         ls /covered; echo end of covered; touch /data/new /empty/new && echo written; sleep 1000",
    );
    container.image = "registry.local/volume:1".into();
    container.security.read_only_rootfs = true;
    container.mounts =
        vec![Mount { host_path: host.display().to_string(), container_path: "/covered".into(), ..Mount::default() }];
    node.run(&runtime, &sandbox, &container).await;
    for text in ["from the image", "drwxr-x--- 33 34", "written"] {
        log_has(&container, text).await;
    }
    assert!(log(&container).iter().all(|line| line != "text"), "{:?}", log(&container));
    let home = node.path("volumes").join(&container.id);
    let written = |folder: &str| home.join(folder).join("new").exists();
    assert!(written("0") && written("1"), "two of three are not covered");
    let used = runtime.disk_usage(std::slice::from_ref(&container.id)).await.unwrap()[&container.id];
    assert!(used.inodes >= 6, "{used:?}");
    // The next attempt begins with what the image has.
    runtime.stop_container(&container.id, Some("SIGKILL"), DEADLINE).await.unwrap();
    let mut next = node.container("ls /data; echo listed");
    next.image = container.image.clone();
    node.run(&runtime, &sandbox, &next).await;
    log_has(&next, "listed").await;
    assert_eq!(log(&next), ["text", "listed"]);
    exit(&runtime, &next.id).await;
    runtime.remove_container(&container.id).await.unwrap();
    assert!(!home.exists(), "they go with their container");
    runtime.stop_sandbox("pod-0").await.unwrap();
    runtime.remove_sandbox("pod-0").await.unwrap();
    assert_eq!(std::fs::read_dir(node.path("volumes")).unwrap().count(), 0);
}

fn tmpfs(path: &Path) {
    std::fs::create_dir_all(path).unwrap();
    mount(Some("t"), path, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mounts_are_passed_on_as_far_as_asked() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    let shared = node.path("shared");
    tmpfs(&shared);
    mount(None::<&str>, &shared, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    let at = |propagation: &str| Mount {
        host_path: shared.display().to_string(),
        container_path: "/v".into(),
        propagation: propagation.into(),
        ..Mount::default()
    };
    let wait = "until ls /v/go; do sleep 1; done; ls /v/from-host; echo seen";
    let mut slave = node.container(wait);
    slave.mounts = vec![at("rslave")];
    node.run(&runtime, &sandbox, &slave).await;
    let mut private = node.container(wait);
    private.mounts = vec![at("private")];
    node.run(&runtime, &sandbox, &private).await;
    // The host mounts something once both run.
    tmpfs(&shared.join("from-host"));
    std::fs::write(shared.join("from-host/inner"), "").unwrap();
    std::fs::write(shared.join("go"), "").unwrap();
    log_has(&slave, "seen").await;
    log_has(&private, "seen").await;
    assert!(log(&slave).contains(&"inner".to_string()), "{:?}", log(&slave));
    assert!(!log(&private).contains(&"inner".to_string()), "{:?}", log(&private));

    let mut both =
        node.container("cd /v; /bin/busybox mkdir out; /bin/busybox mount -t tmpfs o out; touch out/made; echo up");
    both.security.privileged = true;
    both.mounts = vec![at("rshared")];
    node.run(&runtime, &sandbox, &both).await;
    log_has(&both, "up").await;
    assert!(shared.join("out/made").exists(), "what a container mounts is seen by the host");

    let alone = node.path("alone");
    tmpfs(&alone);
    mount(None::<&str>, &alone, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    for (propagation, what) in [("rshared", "shared"), ("rslave", "shared or slave")] {
        let mut refused = node.container("echo no");
        refused.mounts = vec![Mount { host_path: alone.display().to_string(), ..at(propagation) }];
        let err = runtime.create_container(&sandbox, &refused).await.unwrap_err().to_string();
        let alone = alone.display();
        assert_eq!(
            err,
            format!(
                "failed to generate container spec: path \"{alone}\" is mounted on \"{alone}\" but it is not a {what} mount"
            )
        );
    }
}
