//! `qpc tui` on a real pseudo-terminal, with a terminal emulator behind it that a test can look at.

use std::{
    io::{Read as _, Write},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use tokio::time::Instant;

use super::Server;

const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Screen {
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    drawn: Arc<(Mutex<vt100::Parser>, Condvar)>,
    child: Box<dyn Child + Send + Sync>,
}

impl Screen {
    /// A sitting of `name`, whose store is called the same.
    pub(crate) fn start(server: &Server, name: &str, columns: u16, rows: u16) -> Self {
        let pair = native_pty_system().openpty(size(columns, rows)).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_qpc"));
        command.args(["tui", "-u", name, "--server", &server.address(), "--data-dir"]);
        command.arg(server.folder.path().join(name));
        command.arg("--ca-cert");
        command.arg(server.certificate());
        command.env("QPC_PASSWORD", format!("pw {name}"));
        command.env("QPC_CONFIG", server.folder.path().join("config.toml"));
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut output = pair.master.try_clone_reader().unwrap();
        let keys = pair.master.take_writer().unwrap();
        let drawn = Arc::new((Mutex::new(vt100::Parser::new(rows, columns, 0)), Condvar::new()));
        let other = drawn.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut bytes) {
                other.0.lock().unwrap().process(&bytes[..len]);
                other.1.notify_all();
            }
        });
        Self { master: pair.master, keys, drawn, child }
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
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

    /// [`Self::fits`] of texts that are all there.
    pub(crate) fn shows(&self, texts: &[&str]) -> String {
        self.fits(&format!("{texts:?}"), |screen| {
            let contents = screen.contents();
            texts.iter().all(|text| contents.contains(text))
        })
    }

    /// [`Self::fits`] of a text that is not there any more.
    pub(crate) fn hides(&self, text: &str) -> String {
        self.fits(&format!("no {text:?}"), |screen| !screen.contents().contains(text))
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

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}
