// SPDX-License-Identifier: Apache-2.0
using System;
using System.ComponentModel;
using System.Runtime.InteropServices;
using System.Text;

namespace YoloQ.Native
{
    /// <summary>The operating system's loader.</summary>
    internal static class SystemLibrary
    {
        private const uint AlteredSearchPath = 8; // dependencies come from the library's own folder
        private const int Now = 2;                // RTLD_NOW: a missing symbol is an error here, not later
        private const int ModuleNotFound = 126, WrongFormat = 193;

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate IntPtr TextFunction();

        [DllImport("kernel32", ExactSpelling = true, CharSet = CharSet.Unicode, SetLastError = true)]
        private static extern IntPtr LoadLibraryExW(string path, IntPtr reserved, uint flags);

        [DllImport("kernel32", ExactSpelling = true, CharSet = CharSet.Ansi, BestFitMapping = false)]
        private static extern IntPtr GetProcAddress(IntPtr module, string name);

        [DllImport("libdl.so.2", ExactSpelling = true)]
        private static extern IntPtr dlopen(byte[] path, int flags);

        [DllImport("libdl.so.2", ExactSpelling = true)]
        private static extern IntPtr dlsym(IntPtr module, byte[] name);

        [DllImport("libdl.so.2", ExactSpelling = true)]
        private static extern IntPtr dlerror();

        /// <summary>Loads a library by its full path; Zero and a reason on failure. It stays loaded.</summary>
        internal static IntPtr Open(string path, out string reason)
        {
            reason = "";
            if (NativeLoader.IsWindows)
            {
                IntPtr module = LoadLibraryExW(path, IntPtr.Zero, AlteredSearchPath);
                if (module == IntPtr.Zero) reason = WindowsReason(Marshal.GetLastWin32Error());
                return module;
            }
            IntPtr handle = dlopen(Utf8.Bytes("path", path), Now);
            if (handle == IntPtr.Zero) reason = Utf8.Text(dlerror());
            return handle;
        }

        /// <summary>What an exported function `const char *name(void)` returns; Zero if there is none.</summary>
        internal static IntPtr TextOf(IntPtr module, string name)
        {
            IntPtr function = NativeLoader.IsWindows ? GetProcAddress(module, name)
                                                     : dlsym(module, Encoding.ASCII.GetBytes(name + "\0"));
            if (function == IntPtr.Zero) return IntPtr.Zero;
            return ((TextFunction)Marshal.GetDelegateForFunctionPointer(function, typeof(TextFunction)))();
        }

        private static string WindowsReason(int code)
        {
            switch (code)
            {
                case ModuleNotFound:
                    return "a DLL that it needs is missing (error 126): copy all native files of the YoloQ package";
                case WrongFormat:
                    return "it is no 64-bit DLL (error 193): take the file of win-x64";
                default:
                    return new Win32Exception(code).Message + " (error " + code + ")";
            }
        }
    }
}
