//! Who a container runs as: the image's USER, the pod's security context, the image's own passwd and group.

use holdfast_runtime::{RuntimeError, SecurityContext};

/// Numbers for the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some(Account { name, uid, gid: fields.next()?.parse().ok()? })
    })
}

fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

fn number(value: i64, field: &str) -> Result<u32, RuntimeError> {
    u32::try_from(value).map_err(|_| RuntimeError::Config(format!("{field}: {value} is out of range")))
}

/// Works out user and groups as the kubelet and its runtimes do. `passwd` and `group` are the image's files; with `merge` the
/// groups that they name for the user are added (`supplementalGroupsPolicy`).
pub(crate) fn resolve(
    image_user: &str,
    security: &SecurityContext,
    merge: bool,
    passwd: &str,
    group: &str,
) -> Result<ResolvedUser, RuntimeError> {
    let (user, image_group) = match image_user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (image_user, None),
    };
    let mut account_name = None;
    let (uid, mut gid) = match security.run_as_user {
        Some(uid) => by_uid(number(uid, "runAsUser")?, passwd, &mut account_name),
        None if user.is_empty() => by_uid(0, passwd, &mut account_name),
        None => match user.parse::<u32>() {
            Ok(uid) => by_uid(uid, passwd, &mut account_name),
            Err(_) if security.run_as_non_root => {
                return Err(RuntimeError::Config(format!(
                    "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root"
                )));
            }
            Err(_) => {
                let found = accounts(passwd).find(|account| account.name == user);
                let found = found.ok_or_else(|| {
                    RuntimeError::Config(format!("unable to find user {user}: no matching entries in passwd file"))
                })?;
                account_name = Some(found.name.to_string());
                (found.uid, found.gid)
            }
        },
    };
    if security.run_as_non_root && uid == 0 {
        return Err(RuntimeError::Config(match security.run_as_user {
            Some(_) => "container's runAsUser breaks non-root policy".to_string(),
            None => "container has runAsNonRoot and image will run as root".to_string(),
        }));
    }
    if let Some(wanted) = image_group.filter(|_| security.run_as_user.is_none()) {
        gid = match wanted.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => groups(group).find(|(name, ..)| *name == wanted).map(|(_, gid, _)| gid).ok_or_else(|| {
                RuntimeError::Config(format!("unable to find group {wanted}: no matching entries in group file"))
            })?,
        };
    }
    if let Some(wanted) = security.run_as_group {
        gid = number(wanted, "runAsGroup")?;
    }
    let mut all = vec![gid];
    for id in &security.supplemental_groups {
        all.push(number(*id, "supplementalGroups")?);
    }
    if let Some(name) = account_name.filter(|_| merge) {
        let member = |members: &str| members.split(',').any(|member| member.trim() == name);
        all.extend(groups(group).filter(|(_, _, members)| member(members)).map(|(_, gid, _)| gid));
    }
    let mut groups = Vec::new();
    for id in all {
        if !groups.contains(&id) {
            groups.push(id);
        }
    }
    Ok(ResolvedUser { uid, gid, groups })
}

fn by_uid(uid: u32, passwd: &str, name: &mut Option<String>) -> (u32, u32) {
    match accounts(passwd).find(|account| account.uid == uid) {
        Some(account) => {
            *name = Some(account.name.to_string());
            (uid, account.gid)
        }
        None => (uid, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:34:web:/:/bin/false\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlogs:x:40:web,other\n";

    fn resolve(user: &str, context: &SecurityContext, passwd: &str, group: &str) -> Result<ResolvedUser, RuntimeError> {
        super::resolve(user, context, true, passwd, group)
    }

    fn security() -> SecurityContext {
        SecurityContext::default()
    }

    #[test]
    fn names_numbers_and_the_security_context_are_resolved() {
        let user = |uid, gid, groups: &[u32]| ResolvedUser { uid, gid, groups: groups.to_vec() };
        assert_eq!(resolve("", &security(), PASSWD, GROUP), Ok(user(0, 0, &[0])));
        assert_eq!(resolve("web", &security(), PASSWD, GROUP), Ok(user(33, 34, &[34, 40])));
        assert_eq!(resolve("33", &security(), PASSWD, GROUP), Ok(user(33, 34, &[34, 40])));
        assert_eq!(resolve("1000", &security(), "", ""), Ok(user(1000, 0, &[0])));
        assert_eq!(resolve("web:logs", &security(), PASSWD, GROUP), Ok(user(33, 40, &[40])));
        let context = SecurityContext {
            run_as_user: Some(5),
            run_as_group: Some(6),
            supplemental_groups: vec![7, 6],
            ..security()
        };
        assert_eq!(resolve("web:logs", &context, PASSWD, GROUP), Ok(user(5, 6, &[6, 7])));
        assert_eq!(super::resolve("web", &security(), false, PASSWD, GROUP), Ok(user(33, 34, &[34])));
    }

    #[test]
    fn refusals_have_kubernetes_texts() {
        let non_root = SecurityContext { run_as_non_root: true, ..security() };
        let text =
            |user: &str, context: &SecurityContext| resolve(user, context, PASSWD, GROUP).unwrap_err().to_string();
        assert_eq!(text("", &non_root), "container has runAsNonRoot and image will run as root");
        assert_eq!(
            text("web", &non_root),
            "container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root"
        );
        assert_eq!(text("nobody", &security()), "unable to find user nobody: no matching entries in passwd file");
        let negative = SecurityContext { run_as_user: Some(-1), ..security() };
        assert_eq!(text("", &negative), "runAsUser: -1 is out of range");
    }
}
