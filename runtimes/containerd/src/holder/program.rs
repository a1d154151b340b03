//! The program of a holder: it has SIGCHLD ignored, which makes the kernel bury what the pod's processes leave behind, and
//! then waits for ever. So small that it is written down here, instruction by instruction: no image has to be had for it,
//! and it takes a page of memory.

/// The kernel's `struct sigaction` for `SIG_IGN`: handler, flags, restorer, mask, each a word (the mask always 8 bytes).
fn ignore(word: usize) -> Vec<u8> {
    let mut bytes = vec![0; 3 * word + 8];
    bytes[0] = 1;
    bytes
}

/// An ELF file of one segment, which is read and run: headers, code, padding to 8 bytes, data.
struct Program {
    /// ELF's number of the machine.
    machine: u16,
    flags: u32,
    wide: bool,
    /// Where the file lies in memory.
    base: u64,
    code: Vec<u8>,
}

impl Program {
    /// Bytes of the headers before the code.
    fn head(&self) -> usize {
        if self.wide { 64 + 56 } else { 52 + 32 }
    }

    fn bytes(&self) -> Vec<u8> {
        let head = self.head();
        let data = ignore(if self.wide { 8 } else { 4 });
        let end = (head + self.code.len()).next_multiple_of(8) + data.len();
        let word = |value: u64| value.to_le_bytes()[..if self.wide { 8 } else { 4 }].to_vec();
        let mut out = vec![0x7f, b'E', b'L', b'F', if self.wide { 2 } else { 1 }, 1, 1];
        out.resize(16, 0);
        out.extend(2u16.to_le_bytes());
        out.extend(self.machine.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        out.extend(word(self.base + head as u64));
        // Program headers follow; there are no sections.
        out.extend(word(if self.wide { 64 } else { 52 }));
        out.extend(word(0));
        out.extend(self.flags.to_le_bytes());
        let sizes: [u16; 6] = if self.wide { [64, 56, 1, 64, 0, 0] } else { [52, 32, 1, 40, 0, 0] };
        out.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
        // One PT_LOAD, readable and executable, from the file's beginning.
        const READ_RUN: u32 = 5;
        out.extend(1u32.to_le_bytes());
        if self.wide {
            out.extend(READ_RUN.to_le_bytes());
        }
        out.extend([0, self.base, self.base, end as u64, end as u64].into_iter().flat_map(word));
        if !self.wide {
            out.extend(READ_RUN.to_le_bytes());
        }
        out.extend(word(0x1000));
        out.extend(&self.code);
        out.resize(end - data.len(), 0);
        out.extend(data);
        out
    }
}

fn words(code: &[u32]) -> Vec<u8> {
    code.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn x86_64() -> Program {
    #[rustfmt::skip]
    let code = vec![
        0xb8, 13, 0, 0, 0,             // mov eax, rt_sigaction
        0xbf, 17, 0, 0, 0,             // mov edi, SIGCHLD
        0x48, 0x8d, 0x35, 23, 0, 0, 0, // lea rsi, [rip + 23]: the data
        0x31, 0xd2,                    // xor edx, edx
        0x41, 0xba, 8, 0, 0, 0,        // mov r10d, 8
        0x0f, 0x05,                    // syscall
        0xb8, 34, 0, 0, 0,             // mov eax, pause
        0x0f, 0x05,                    // syscall
        0xeb, 0xf7,                    // jmp to the second mov eax
    ];
    Program { machine: 62, flags: 0, wide: true, base: 0x40_0000, code }
}

fn aarch64() -> Program {
    let code = words(&[
        0xd280_10c8, // mov x8, rt_sigaction
        0xd280_0220, // mov x0, SIGCHLD
        0x1000_0181, // adr x1, +48: the data
        0xd280_0002, // mov x2, 0
        0xd280_0103, // mov x3, 8
        0xd400_0001, // svc 0
        0xd280_0928, // mov x8, ppoll
        0xd280_0000, // mov x0, 0
        0xd280_0001, // mov x1, 0
        0xd280_0002, // mov x2, 0
        0xd280_0003, // mov x3, 0
        0xd400_0001, // svc 0
        0x17ff_fffa, // b to the second mov x8
    ]);
    Program { machine: 183, flags: 0, wide: true, base: 0x40_0000, code }
}

fn arm() -> Program {
    let code = words(&[
        0xe3a0_70ae, // mov r7, rt_sigaction
        0xe3a0_0011, // mov r0, SIGCHLD
        0xe28f_1014, // add r1, pc, 20: the data
        0xe3a0_2000, // mov r2, 0
        0xe3a0_3008, // mov r3, 8
        0xef00_0000, // svc 0
        0xe3a0_701d, // mov r7, pause
        0xef00_0000, // svc 0
        0xeaff_fffc, // b to the second mov r7
    ]);
    Program { machine: 40, flags: 0x0500_0000, wide: false, base: 0x1_0000, code }
}

/// The program for this machine; `None` for one that it was not written for.
pub(super) fn program() -> Option<Vec<u8>> {
    let program = match std::env::consts::ARCH {
        "x86_64" => x86_64(),
        "aarch64" => aarch64(),
        "arm" => arm(),
        _ => return None,
    };
    Some(program.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_finds_its_data() {
        // Where the data begins, and where the instruction that names it looks.
        for (program, looks_at) in
            [(x86_64(), 120 + 17 + 23), (aarch64(), 120 + 2 * 4 + 48), (arm(), 84 + 2 * 4 + 8 + 20)]
        {
            let (bytes, size) = (program.bytes(), ignore(if program.wide { 8 } else { 4 }).len());
            assert_eq!(bytes.len() - size, looks_at, "machine {}", program.machine);
            assert_eq!(bytes[looks_at..][..8], [1, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(bytes[program.head()..][..program.code.len()], program.code);
        }
    }

    #[test]
    fn it_runs_until_it_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("holder");
        std::fs::write(&path, program().unwrap()).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut child = std::process::Command::new(&path).spawn().unwrap();
        let stat = || std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let field = |name: &str| stat().lines().find_map(|line| line.strip_prefix(name).map(str::to_string)).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        // The 17th bit: SIGCHLD is ignored.
        while u64::from_str_radix(field("SigIgn:").trim(), 16).unwrap() & 1 << 16 == 0 {
            assert!(std::time::Instant::now() < end, "{}", stat());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
    }
}
