//! Images that `buildah` makes from Dockerfiles, run as their configuration says, and looked into. Without buildah they say
//! that they are skipped.

use crate::harness::*;
use holdfast_containerd::ContainerdRuntime;
use holdfast_runtime::*;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const DOCKERFILE: &str = r#"
FROM scratch AS tools
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]

FROM tools AS low
RUN mkdir -p /data/deep /opaque/below /etc && echo old > /data/gone && echo old > /data/deep/gone && echo kept > /data/kept
RUN echo old > /opaque/old && echo old > /opaque/below/old && ln -s /opaque/old /dangling && echo file > /becomes
RUN printf 'root:x:0:0::/root:/bin/sh\nweb:x:33:34::/home/web:/bin/sh\n' > /etc/passwd
RUN printf 'root:x:0:\nweb:x:34:\nlogs:x:40:web,other\n' > /etc/group

FROM low AS files
RUN rm /data/gone && rm -r /data/deep && rm -r /opaque && mkdir /opaque && echo new > /opaque/new && rm /becomes && mkdir /becomes
RUN echo one > /hard1 && ln /hard1 /hard2 && ln -s ../data/kept /opaque/link && mkfifo /fifo
RUN d=/long/$(printf %0200d 1)/$(printf %0200d 2) && mkdir -p $d && echo found > $d/$(printf %0180d 3)
RUN mkdir /sticky /own && chmod 1777 /sticky && cp /bin/busybox /own/suid && chmod 4755 /own/suid && chmod 2750 /own
COPY --chown=33:40 note /noted
COPY capable /able/busybox
RUN echo upper > /data/kept.new && mv /data/kept.new /data/kept && echo 'odd name' > '/data/a b ü'

FROM files AS shell
ENV FORM=shell TWO="two words" PATH=/bin:/extra
WORKDIR /not
WORKDIR there/yet
ENTRYPOINT echo $FORM form, $TWO, in $PWD
CMD ["not", "used"]

FROM tools AS exec
ENTRYPOINT ["/bin/echo", "entry", "$PATH"]
CMD ["one", "two words"]

FROM tools AS command
CMD echo nothing but a command

FROM tools AS bare
STOPSIGNAL SIGUSR1
ENTRYPOINT ["/bin/sh", "-c"]

FROM low AS named
USER web
CMD ["/bin/sh", "-c", "id; echo $HOME"]

FROM low AS grouped
USER web:logs
CMD ["/bin/id"]

FROM low AS numbered
USER 1000:1001
CMD ["/bin/id"]

FROM low AS nobody
USER ghost
CMD ["/bin/id"]
"#;

/// Whether there is a buildah; if not, that is said where the test harness does not swallow it.
fn has_buildah(test: &str) -> bool {
    let found = Command::new("buildah").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: there is no buildah here (apt-get install buildah)");
    }
    found
}

/// buildah with a store of its own.
struct Builder<'a> {
    node: &'a Node,
}

impl Builder<'_> {
    /// Makes the folder with what Dockerfiles copy.
    fn new(node: &Node) -> Builder<'_> {
        let context = node.path("context");
        std::fs::create_dir(&context).unwrap();
        std::fs::write(context.join("Dockerfile"), DOCKERFILE).unwrap();
        std::fs::write(context.join("note"), "noted\n").unwrap();
        for name in ["busybox", "capable"] {
            std::fs::copy("/bin/busybox", context.join(name)).unwrap();
        }
        // cap_net_raw+ep, as `setcap` writes it: version 2 with the effective bit, permitted 1 << 13, nothing inheritable.
        let mut value = 0x0200_0001_u32.to_le_bytes().to_vec();
        for word in [1_u32 << 13, 0, 0, 0] {
            value.extend_from_slice(&word.to_le_bytes());
        }
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(context.join("capable"), "security.capability", &value, flags).unwrap();
        Builder { node }
    }

    fn run(&self, args: &[&str]) {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.node.path("buildah")).arg("--runroot").arg(self.node.path("buildah-run"));
        command.args(["--storage-driver", "vfs"]).args(args);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "buildah {args:?}: {said}");
    }

    /// Builds a stage and writes it as an archive of this sort.
    fn build(&self, stage: &str, archive: &str) -> (String, PathBuf) {
        let name = format!("localhost/{stage}:1");
        let context = self.node.path("context").display().to_string();
        self.run(&["bud", "--isolation", "chroot", "--layers", "--target", stage, "-t", &name, &context]);
        let tar = self.node.path(&format!("{stage}.tar"));
        let _ = std::fs::remove_file(&tar);
        self.run(&["push", "--quiet", &name, &format!("{archive}:{}:{name}", tar.display())]);
        (name, tar)
    }
}

/// Builds a stage, imports it and runs a container of it with these changes; its lines and its exit code.
async fn ran(
    builder: &Builder<'_>,
    runtime: &Arc<ContainerdRuntime>,
    stage: &str,
    archive: &str,
    change: impl FnOnce(&mut ContainerSpec),
) -> (Vec<String>, i32) {
    let (name, tar) = builder.build(stage, archive);
    assert_eq!(runtime.import_image(&tar).await.unwrap(), std::slice::from_ref(&name));
    run_of(builder.node, runtime, &name, change).await
}

async fn run_of(
    node: &Node,
    runtime: &Arc<ContainerdRuntime>,
    name: &str,
    change: impl FnOnce(&mut ContainerSpec),
) -> (Vec<String>, i32) {
    let mut container = ContainerSpec { image: name.to_string(), args: Vec::new(), ..node.container("") };
    change(&mut container);
    node.run(runtime, &node.sandbox("pod-0"), &container).await;
    let code = exit(runtime, &container.id).await.0;
    (log(&container), code)
}

async fn bare(node: &Node) -> Arc<ContainerdRuntime> {
    let runtime = node.runtime();
    until("containerd answers", async || runtime.version().await.is_ok()).await;
    runtime
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dockerfile_says_of_its_process_is_done() {
    if !has_buildah("what_a_dockerfile_says_of_its_process_is_done") {
        return;
    }
    let node = Node::start();
    let runtime = bare(&node).await;
    let builder = Builder::new(&node);
    let run = async |stage: &str, archive: &str| ran(&builder, &runtime, stage, archive, |_| {}).await;
    assert_eq!(run("exec", "oci-archive").await, (vec!["entry $PATH one two words".into()], 0));
    let (lines, _) = run_of(&node, &runtime, "localhost/exec:1", |spec| spec.args = vec!["three".into()]).await;
    assert_eq!(lines, ["entry $PATH three"]);
    let command = |spec: &mut ContainerSpec| spec.command = vec!["/bin/echo".into(), "own".into()];
    assert_eq!(run_of(&node, &runtime, "localhost/exec:1", command).await.0, ["own"], "without the image's CMD");
    let both = |spec: &mut ContainerSpec| {
        spec.command = vec!["/bin/echo".into(), "own".into()];
        spec.args = vec!["too".into()];
    };
    assert_eq!(run_of(&node, &runtime, "localhost/exec:1", both).await.0, ["own too"]);
    assert_eq!(run("shell", "oci-archive").await.0, ["shell form, two words, in /not/there/yet"]);
    let over = |spec: &mut ContainerSpec| {
        spec.env = vec![("FORM".into(), "other".into())];
        spec.working_dir = "/nobody/made/it".into();
    };
    let (lines, _) = run_of(&node, &runtime, "localhost/shell:1", over).await;
    assert_eq!(lines, ["other form, two words, in /nobody/made/it"]);
    assert_eq!(run("command", "docker-archive").await.0, ["nothing but a command"]);
    assert_eq!(
        run("named", "docker-archive").await.0,
        ["uid=33(web) gid=34(web) groups=34(web),40(logs)", "/home/web"]
    );
    assert_eq!(run("grouped", "oci-archive").await.0, ["uid=33(web) gid=40(logs) groups=40(logs)"]);
    assert_eq!(run("numbered", "oci-archive").await.0, ["uid=1000 gid=1001 groups=1001"]);

    let (name, tar) = builder.build("nobody", "oci-archive");
    runtime.import_image(&tar).await.unwrap();
    let ghost = ContainerSpec { image: name, args: Vec::new(), ..node.container("") };
    let err = runtime.create_container(&node.sandbox("pod-0"), &ghost).await.unwrap_err();
    assert_eq!(err.to_string(), "unable to find user ghost: no matching entries in passwd file");

    let (name, tar) = builder.build("bare", "oci-archive");
    runtime.import_image(&tar).await.unwrap();
    let script = "trap 'echo by USR1; exit 9' USR1; echo up; while :; do sleep 0.05; done";
    let asked = ContainerSpec { image: name, args: vec![script.into()], ..node.container("") };
    node.run(&runtime, &node.sandbox("pod-0"), &asked).await;
    log_has(&asked, "up").await;
    runtime.stop_container(&asked.id, None, Duration::from_secs(20)).await.unwrap();
    assert_eq!(exit(&runtime, &asked.id).await.0, 9);
    log_has(&asked, "by USR1").await;
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dockerfile_says_of_files_is_there() {
    if !has_buildah("what_a_dockerfile_says_of_files_is_there") {
        return;
    }
    let node = Node::start();
    let runtime = bare(&node).await;
    let builder = Builder::new(&node);
    let script = "ls /data /opaque; cat /data/kept /opaque/new /opaque/link; [ -d /becomes ] && echo folder; \
                  [ -e /dangling ] || readlink /dangling; \
                  [ $(stat -c %i /hard1) = $(stat -c %i /hard2) ] && stat -c 'hard %h' /hard1; \
                  cat /long/*1/*2/*3; stat -c '%F %a' /fifo /sticky; \
                  stat -c '%a %u:%g' /own /own/suid /noted; stat -c %s /noted; cat '/data/a b ü'; \
                  /able/busybox grep CapEff /proc/self/status; grep CapEff /proc/self/status";
    // busybox shows what is not ASCII as question marks; the file is opened by its name.
    let expected = [
        "/data:",
        "a b ??",
        "kept",
        "/opaque:",
        "link",
        "new",
        "upper",
        "new",
        "upper",
        "folder",
        "/opaque/old",
        "hard 2",
        "found",
        "fifo 644",
        "directory 1777",
        "2750 0:0",
        "4755 0:0",
        "644 33:40",
        "6",
        "odd name",
        "CapEff:\t0000000000002000",
        "CapEff:\t0000000000000000",
    ];
    for archive in ["oci-archive", "docker-archive"] {
        let change = |spec: &mut ContainerSpec| {
            spec.command = vec!["/bin/sh".into(), "-c".into(), script.into()];
            spec.security = SecurityContext {
                run_as_user: Some(1000),
                supplemental_groups: vec![0],
                allow_privilege_escalation: true,
                ..SecurityContext::default()
            };
        };
        let (lines, code) = ran(&builder, &runtime, "files", archive, change).await;
        let lines: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
        assert_eq!((lines, code), (expected.map(String::from).to_vec(), 0), "{archive}");
    }
    runtime.remove_sandbox("pod-0").await.unwrap();
}
