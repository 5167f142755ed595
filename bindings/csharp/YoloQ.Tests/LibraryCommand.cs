// SPDX-License-Identifier: Apache-2.0
using System;

namespace YoloQ.Tests
{
    /// <summary>How the native library is found, in a process of its own: prints its path, or the exception.</summary>
    internal static class LibraryCommand
    {
        /// <summary>[FILE]: load this file instead of looking for one. A second attempt must end as the first did.</summary>
        internal static void Run(string[] arguments)
        {
            for (int attempt = 0; attempt < 2; ++attempt)
            {
                try
                {
                    if (arguments.Length > 0) Library.Load(arguments[0]);
                    Console.WriteLine("{0} {1}", Library.Version, Library.Path);
                }
                catch (NativeLibraryException error)
                {
                    Console.WriteLine("{0} {1} [{2}]", error.Status, error.Message, string.Join("|", error.Searched));
                }
            }
        }
    }
}
