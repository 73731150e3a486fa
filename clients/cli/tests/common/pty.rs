//! The binary on a real pseudo-terminal, with a terminal emulator behind it that a test can look at.

use std::{
    io::{Read as _, Write},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use tokio::time::Instant;

use super::Server;

const PATIENCE: Duration = Duration::from_secs(60);
/// So many that nothing scrolls away.
pub(crate) const ROWS: u16 = 100;
/// How an editor asks where the cursor is. Whoever is a terminal answers.
const WHERE: &[u8] = b"\x1b[6n";

/// A program with a person before it.
pub(crate) struct Terminal {
    master: Box<dyn MasterPty + Send>,
    keys: Arc<Mutex<Box<dyn Write + Send>>>,
    drawn: Arc<(Mutex<vt100::Parser>, Condvar)>,
    child: Box<dyn Child + Send + Sync>,
}

impl Terminal {
    /// `qpc repl` of `name`, whose store is called the same, on a screen of so many columns.
    pub(crate) fn repl(server: &Server, name: &str, columns: u16) -> Self {
        Self::qpc(server, name, &["repl"], columns, ROWS)
    }

    /// `qpc tui` of `name`.
    pub(crate) fn tui(server: &Server, name: &str, columns: u16, rows: u16) -> Self {
        Self::qpc(server, name, &["tui"], columns, rows)
    }

    /// `qpc` of `name` with any arguments.
    pub(crate) fn qpc(server: &Server, name: &str, arguments: &[&str], columns: u16, rows: u16) -> Self {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_qpc"));
        command.args(arguments);
        command.args(["-u", name]);
        Self::start(server, name, command, columns, rows)
    }

    /// A shell with job control, in which `$QPC` is the binary, for `name`.
    pub(crate) fn shell(server: &Server, name: &str, columns: u16, rows: u16) -> Self {
        let mut command = CommandBuilder::new("bash");
        command.args(["--norc", "--noprofile", "-i"]);
        command.env("PS1", "$ ");
        command.env("QPC", env!("CARGO_BIN_EXE_qpc"));
        Self::start(server, name, command, columns, rows)
    }

    fn start(server: &Server, name: &str, mut command: CommandBuilder, columns: u16, rows: u16) -> Self {
        let pair = native_pty_system().openpty(size(columns, rows)).unwrap();
        command.env("QPC_SERVER", server.address());
        command.env("QPC_DATA_DIR", server.folder.path().join(name));
        command.env("QPC_CA_CERT", server.certificate());
        command.env("QPC_USERNAME", name);
        command.env("QPC_PASSWORD", format!("pw {name}"));
        command.env("QPC_CONFIG", server.folder.path().join("config.toml"));
        command.env("TERM", "xterm-256color");
        command.env("COLORTERM", "truecolor");
        command.env_remove("NO_COLOR");
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut output = pair.master.try_clone_reader().unwrap();
        let keys = Arc::new(Mutex::new(pair.master.take_writer().unwrap()));
        let drawn = Arc::new((Mutex::new(vt100::Parser::new(rows, columns, 0)), Condvar::new()));
        let (screen, answers) = (drawn.clone(), keys.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut bytes) {
                let mut parser = screen.0.lock().unwrap();
                // Byte by byte, so that the answer is where the cursor was at the question.
                let mut asked = 0;
                for byte in &bytes[..len] {
                    parser.process(&[*byte]);
                    asked = if *byte == WHERE[asked] { asked + 1 } else { usize::from(*byte == WHERE[0]) };
                    if asked == WHERE.len() {
                        asked = 0;
                        let (row, column) = parser.screen().cursor_position();
                        let answer = format!("\x1b[{};{}R", row + 1, column + 1);
                        answers.lock().unwrap().write_all(answer.as_bytes()).unwrap();
                    }
                }
                screen.1.notify_all();
            }
        });
        Self { master: pair.master, keys, drawn, child }
    }

    pub(crate) fn types(&self, keys: &str) {
        let mut writer = self.keys.lock().unwrap();
        writer.write_all(keys.as_bytes()).unwrap();
        writer.flush().unwrap();
    }

    /// What the screen shows once it fits.
    pub(crate) fn fits(&self, what: &str, fits: impl Fn(&vt100::Screen) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        let mut parser = self.drawn.0.lock().unwrap();
        loop {
            if fits(parser.screen()) {
                return parser.screen().contents();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} not on the screen:\n{}", parser.screen().contents());
            parser = self.drawn.1.wait_timeout(parser, left).unwrap().0;
        }
    }

    /// [`Self::fits`] of what is written on it.
    pub(crate) fn reads(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        self.fits(what, |screen| fits(&screen.contents()))
    }

    /// [`Self::fits`] of texts that are all there.
    pub(crate) fn shows(&self, texts: &[&str]) -> String {
        self.reads(&format!("{texts:?}"), |screen| texts.iter().all(|text| screen.contains(text)))
    }

    /// [`Self::fits`] of a text that is not there any more.
    pub(crate) fn hides(&self, text: &str) -> String {
        self.reads(&format!("no {text:?}"), |screen| !screen.contains(text))
    }

    /// What is on the screen now.
    pub(crate) fn contents(&self) -> String {
        self.drawn.0.lock().unwrap().screen().contents()
    }

    /// What is drawn from here on is read in the new size: nothing is drawn before the program has heard of it.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.drawn.0.lock().unwrap().screen_mut().set_size(rows, columns);
        self.master.resize(size(columns, rows)).unwrap();
    }

    /// The exit code.
    pub(crate) fn ends(&mut self) -> u32 {
        let until = Instant::now() + PATIENCE;
        let mut parser = self.drawn.0.lock().unwrap();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.exit_code();
            }
            assert!(Instant::now() < until, "still running:\n{}", parser.screen().contents());
            // It may end without another byte.
            parser = self.drawn.1.wait_timeout(parser, Duration::from_millis(100)).unwrap().0;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}
