//! A terminal: a shell on a pseudoterminal, and the screen that vt100 makes of its output.

mod picture;

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

use crate::wait::eventually;

type Parser = vt100::Parser<picture::Unknown>;

/// Columns and lines.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Characters of a line.
    pub columns: u16,
    /// Lines of the screen.
    pub lines: u16,
}

impl Size {
    fn lines_and_columns(self) -> (NonZeroU16, NonZeroU16) {
        let positive = |number| NonZeroU16::new(number).expect("a terminal has a size");
        (positive(self.lines), positive(self.columns))
    }
}

/// A terminal with a shell in it; both end on drop.
pub struct Terminal {
    shell: Child,
    keyboard: File,
    screen: Arc<Mutex<Parser>>,
}

impl Terminal {
    /// The key that interrupts the program in the foreground.
    pub const CONTROL_C: &str = "\x03";

    /// Opens it.
    ///
    /// # Panics
    /// When there is no pseudoterminal, or no shell.
    #[must_use]
    pub fn open(size: Size) -> Self {
        let (keyboard, line) = pseudoterminal().expect("a pseudoterminal");
        let handle = || line.try_clone().expect("a descriptor");
        // `setsid` makes it the controlling terminal. The user's configuration of the shell stays out.
        // Whoever started the tests may ignore interrupts, which programs would inherit.
        let mut shell = Command::new("env");
        shell.args(["--default-signal", "setsid", "--ctty", "bash", "--norc", "--noprofile"]);
        shell.env("PS1", "shell> ").env("TERM", "xterm-256color").env_remove("PROMPT_COMMAND");
        shell.stdin(handle()).stdout(handle()).stderr(line);
        let (lines, columns) = size.lines_and_columns();
        let parser = Parser::new_with_callbacks(lines, columns, 0, picture::Unknown::default());
        let screen = Arc::new(Mutex::new(parser));
        set_size(&keyboard, size);
        let shell = shell.spawn().expect("setsid and bash are installed");
        let output = keyboard.try_clone().expect("a descriptor");
        thread::spawn({
            let screen = Arc::clone(&screen);
            move || show(output, &screen)
        });
        let terminal = Self { shell, keyboard, screen };
        terminal.wait("shell>");
        terminal
    }

    /// Types a line, and the key at its end.
    pub fn enter(&self, line: &str) {
        self.press(line);
        self.press("\r");
    }

    /// Presses the keys that send these characters.
    ///
    /// # Panics
    /// When the shell has ended.
    pub fn press(&self, keys: &str) {
        (&self.keyboard).write_all(keys.as_bytes()).expect("somebody reads the keyboard");
    }

    /// Gives it another size.
    pub fn resize(&self, size: Size) {
        let (lines, columns) = size.lines_and_columns();
        // Before the program hears of it and draws again.
        self.screen().set_size(lines, columns);
        set_size(&self.keyboard, size);
    }

    /// The text that it shows.
    #[must_use]
    pub fn text(&self) -> String {
        let parser = self.screen();
        let width = parser.screen().size().1.get();
        parser.screen().rows(0, width).map(|row| row.trim_end().to_owned() + "\n").collect()
    }

    /// The same with colours, bold letters and reverse video, as an HTML document of this title.
    #[must_use]
    pub fn html(&self, title: &str) -> String {
        picture::html(title, &self.screen())
    }

    /// Whether it shows the screen that programs draw on, and not the one with the shell's lines.
    #[must_use]
    pub fn is_drawn_on(&self) -> bool {
        self.screen().screen().alternate_screen()
    }

    /// Waits until it shows `part`; all that it shows then.
    ///
    /// # Panics
    /// When it does not soon.
    pub fn wait(&self, part: &str) -> String {
        self.wait_until(part, |text| text.contains(part))
    }

    /// Waits until it shows what is looked for; all that it shows then.
    ///
    /// # Panics
    /// When it does not soon.
    pub fn wait_until(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let found = crate::wait::until(std::time::Duration::from_secs(20), || {
            last = self.text();
            is_it(&last).then(|| last.clone())
        });
        found.unwrap_or_else(|| panic!("the terminal does not show {what}:\n{last}"))
    }

    /// Waits until the program that drew has given back the shell's screen, and then the cursor on it.
    pub fn wait_shell(&self) {
        eventually("the shell's own screen", || (!self.is_drawn_on()).then_some(()));
        eventually("a cursor", || (!self.screen().screen().hide_cursor()).then_some(()));
    }

    fn screen(&self) -> MutexGuard<'_, Parser> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The end of a session's leader hangs up the program in the foreground.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// The two ends of a pseudoterminal: the keyboard, from which the screen is read, and the line, which is for programs.
/// No other child inherits them: it would keep the line open.
fn pseudoterminal() -> io::Result<(File, File)> {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let mut line = OpenOptions::new();
    line.read(true).write(true).custom_flags(libc::O_NOCTTY);
    let line = line.open(ptsname_r(&master)?)?;
    Ok((master.as_fd().try_clone_to_owned()?.into(), line))
}

fn set_size(keyboard: &File, size: Size) {
    let size =
        libc::winsize { ws_row: size.lines, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request reads a `winsize`, which outlives the call.
    let outcome = unsafe { libc::ioctl(keyboard.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    assert_eq!(outcome, 0, "no size for a terminal: {}", io::Error::last_os_error());
}

/// Puts what programs write on the screen, until the last of them has closed the line.
fn show(mut output: File, screen: &Mutex<Parser>) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = output.read(&mut bytes) {
        screen.lock().unwrap_or_else(PoisonError::into_inner).process(&bytes[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_writes_in_colour_is_in_the_text_and_in_the_picture() {
        let terminal = Terminal::open(Size { columns: 40, lines: 5 });
        terminal.enter("tput cols; printf '\\e[31mred\\e[0m'");
        let text = terminal.wait_until("two answers", |text| text.contains("\nred"));
        assert!(text.contains("\n40\n"), "{text}");
        let document = terminal.html("colours");
        assert!(document.contains("<span style=\"color:#cd0000\">red</span>"), "{document}");
    }
}
